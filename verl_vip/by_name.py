"""Builds objects from their registered names. For a wrong name or setting, the error suggests the nearest valid one."""

import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from reprlib import repr as shortened
from typing import Any

from verl_vip.annotations import check_arguments
from verl_vip.errors import ConfigError

#: For each kind, the entry-point group in which other packages register theirs, and a description of the object.
_KINDS = {
    "strategy": ("verl_vip.strategies", "a class that can be built from settings; give the name of such a class"),
    "predictor": ("verl_vip.predictors", "a class that can be built from settings; give the name of such a class"),
    "algorithm.adv_estimator": (
        "verl_vip.advantages",
        "a function; give the name of a function that takes a GroupedRewards",
    ),
}
_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_PLACE = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


def locate(kind: str, name: str, known: Mapping[str, str]) -> Any:
    """Import the object that a name stands for.

    Args:
        kind: The kind of object: "strategy", "predictor" or "algorithm.adv_estimator".
        name: A key of `known`, which takes precedence, an entry point of the kind's group, or
            "package.module:attribute".
        known: "module:attribute" by name.

    Raises:
        ConfigError: If the name is unknown or ambiguous, or its object cannot be imported.
    """
    place = known.get(name) or (name if is_place(name) else _registered(kind, name, known))
    module, _, attribute = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{kind} {name!r} cannot be imported ({error}); install its package in this environment, or correct the "
            "name."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(
                f"{kind} {name!r} does not exist: {module} has no attribute {attribute}; correct the name."
            )
        found = getattr(found, part)
    try:
        inspect.signature(found)
    except (TypeError, ValueError) as error:  # not callable, or a class written in C
        raise ConfigError(f"{kind} {name!r} is not {_KINDS[kind][1]}.") from error
    return found


def is_place(name: str) -> bool:
    """Return whether a name has the form "package.module:attribute"."""
    return _PLACE.fullmatch(name) is not None


def registered_names(kind: str) -> frozenset[str]:
    """Return the names that other installed packages register as entry points for a kind."""
    return frozenset(entry_points(group=_KINDS[kind][0]).names)


def _registered(kind: str, name: str, known: Mapping[str, str]) -> str:
    """Return "module:attribute" of the entry point of that name."""
    points = entry_points(group=_KINDS[kind][0])
    places = sorted({point.value for point in points if point.name == name})
    if not places:
        raise ConfigError(f"there is no {kind} {shortened(name)}; {nearest(name, {*known, *points.names})}")
    if len(places) > 1:
        raise ConfigError(
            f"{kind} {name!r} is registered by several packages ({', '.join(places)}); give one of these places "
            "instead of the name."
        )
    return places[0]


def require_contract(kind: str, name: str, built: object, contract: type) -> None:
    """Refuse an object that lacks a member of its contract.

    Args:
        kind: The kind of object, for the message.
        name: The object's name.
        built: The strategy or predictor.
        contract: The protocol that it must implement.

    Raises:
        ConfigError: If a member is missing.
    """
    if lacking := [member for member in vars(contract) if not member.startswith("_") and not hasattr(built, member)]:
        raise ConfigError(
            f"{kind} {name!r} lacks {', '.join(lacking)}; the contract is {contract.__module__}.{contract.__name__}."
        )


def build(kind: str, name: str, constructor: Any, fixed: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Call a constructor with fixed arguments and the user's settings.

    Args:
        kind: The kind of object, for the message.
        name: The object's name.
        constructor: A class. The settings are checked against its annotations (see `verl_vip.annotations`).
        fixed: Arguments that users cannot set. Those that the constructor does not take are left out.
        settings: The user's settings.

    Raises:
        ConfigError: If a setting is unknown, fixed, missing, of the wrong type or out of range.
    """
    known = inspect.signature(constructor).parameters
    free = known.keys() - fixed.keys() - {"args", "kwargs"}
    for setting in settings:
        if setting not in free:
            raise ConfigError(f"{kind} {name!r} has no setting {shortened(setting)}; {nearest(setting, free)}")
    given = {key: value for key, value in fixed.items() if key in known}
    required = [key for key, one in known.items() if one.default is one.empty and one.kind not in _ANY_NUMBER]
    if lacking := [key for key in required if key not in {*settings, *given}]:
        raise ConfigError(f"{kind} {name!r} needs the setting {lacking[0]!r}; give it.")
    try:
        checked = check_arguments(getattr(constructor, "__init__", constructor), settings)
        return constructor(**given, **checked)
    except ConfigError as error:
        raise ConfigError(f"{kind} {name!r}: {error}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known name, or all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}."
