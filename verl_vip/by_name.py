"""Builds what a registry names; a wrong name or setting is answered with the nearest right one."""

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from verl_vip.errors import ConfigError


@dataclass(frozen=True)
class _Plain:
    """A type that settings are checked for: what it is called, and which values have it."""

    text: str
    types: tuple[type, ...]

    def holds(self, value: object) -> bool:
        # To Python true and false are whole numbers.
        return isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))


_PLAIN: dict[Any, _Plain] = {
    bool: _Plain("true or false", (bool,)),
    int: _Plain("a whole number", (int,)),
    float: _Plain("a number", (int, float)),
    str: _Plain("text", (str,)),
}


def locate(kind: str, name: str, known: Mapping[str, str]) -> Any:
    """Import what a name stands for.

    Args:
        kind: What is named, for the message.
        name: A key of `known`.
        known: "module:attribute" by name.

    Raises:
        ConfigError: If the name is unknown.
    """
    if name not in known:
        raise ConfigError(f"there is no {kind} {name!r}; {_nearest(name, known)}")
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def build(kind: str, name: str, constructor: Any, fixed: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Call a constructor with what its name fixes and the settings given.

    Args:
        kind: What is built, for the message.
        name: What it goes by.
        constructor: A class.
        fixed: Arguments that are not a user's to set; those that the constructor does not take are left out.
        settings: A user's.

    Raises:
        ConfigError: If a setting is unknown or fixed, or of the wrong type or out of range.
    """
    known = inspect.signature(constructor).parameters
    free = known.keys() - fixed.keys() - {"args", "kwargs"}
    for setting, value in settings.items():
        if setting not in free:
            raise ConfigError(f"{kind} {name!r} has no setting {setting!r}; {_nearest(setting, free)}")
        wanted = _PLAIN.get(known[setting].annotation)
        if wanted is not None and not wanted.holds(value):
            raise ConfigError(f"{kind} {name!r} takes {wanted.text} as {setting}; got {value!r}.")
    return constructor(**{key: value for key, value in fixed.items() if key in known}, **settings)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}."
