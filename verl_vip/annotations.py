"""Checks settings against the types and ranges that their annotations declare.

A declaration is a type annotation: `bool`, `int`, `float`, `str`, `Any`, a `Literal`, a union of these, a tuple,
`Sequence[...]` or `Mapping[str, ...]`. Values of any other annotation are not checked. `Annotated` adds a `Range`, and
a text that describes the setting. Numbers must be finite, and integers must fit into 64 bits.
"""

import functools
import inspect
import math
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from reprlib import repr as shortened
from typing import Annotated, Any, Literal, ParamSpec, Union, get_args, get_origin, get_type_hints

from verl_vip.errors import ConfigError

P = ParamSpec("P")

#: Integers of this size and above are refused: no setting needs them, and tensors cannot hold them.
_TOO_LARGE = 2**63


@dataclass(frozen=True)
class Range:
    """Bounds of a number; a bound of None is not checked.

    Attributes:
        least: The inclusive lower bound.
        above: The exclusive lower bound.
        most: The inclusive upper bound.
        below: The exclusive upper bound.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether a number lies within the bounds."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"from {self.least:g} to {self.most:g}"
        bounds = {"of at least": self.least, "above": self.above, "of at most": self.most, "below": self.below}
        return " and ".join(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)


class _Path:
    def holds(self, value: str) -> bool:
        try:
            return bool(value) and b"\0" not in os.fsencode(value)
        except UnicodeEncodeError:
            return False

    def __str__(self) -> str:
        return "that can be a path"


#: The path of a file or folder, which need not exist.
PathText = Annotated[str, _Path()]
#: A number of things, at least one.
Count = Annotated[int, Range(least=1)]
#: A probability, or a share from 0 to 1.
Share = Annotated[float, Range(least=0, most=1)]


def check(name: str, value: Any, declared: Any) -> Any:
    """Check a value against its declaration, and return it in the declared type.

    Integers become floats where floats are declared, lists become tuples where tuples are declared, and the keys of a
    mapping become strings.

    Args:
        name: The name of the setting, for the message.
        value: The value to check.
        declared: A type annotation; see the module's text.

    Raises:
        ConfigError: If the value has another type or is out of range. The message is one sentence that names the
            setting.
    """
    kind, parts = _kind(declared), get_args(declared)
    if kind is Annotated and not _limits(parts):
        return check(name, value, parts[0])
    if kind is Mapping and isinstance(value, Mapping):
        return {str(key): check(f"{name}[{shortened(str(key))}]", item, parts[1]) for key, item in value.items()}
    if kind is Sequence and isinstance(value, list | tuple):
        items = [check(f"{name}[{index}]", item, parts[0]) for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    fitting = _fitting(value, declared)
    if not fitting:
        raise ConfigError(f"{name} must be {describe(declared)}; got {shortened(value)}.")
    return fitting[0]


def require_paths(**paths: str | os.PathLike[str]) -> None:
    """Refuse paths that no file system accepts, such as one with a NUL, on which Python's own functions crash.

    Args:
        **paths: The paths, by their names for the message.

    Raises:
        ConfigError: As `check`.
    """
    for name, path in paths.items():
        check(name, os.fspath(path), PathText)


def check_fields(instance: Any, prefix: str = "") -> None:
    """Check every field of a dataclass against its annotation; to be called from its `__post_init__`.

    Args:
        instance: A dataclass, which may be frozen. Its fields are set to the values that `check` returns.
        prefix: Precedes the fields' names in messages.

    Raises:
        ConfigError: As `check`.
    """
    declared = get_type_hints(type(instance), include_extras=True)
    for entry in fields(instance):
        value = check(f"{prefix}{entry.name}", getattr(instance, entry.name), declared[entry.name])
        object.__setattr__(instance, entry.name, value)


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Check arguments against a function's annotations, and return them in the declared types.

    Arguments without an annotation, or with one of another kind, are returned as they are.

    Args:
        function: The function to be called, or a class, whose `__init__` is then checked.
        arguments: The arguments, by name.

    Raises:
        ConfigError: As `check`.
    """
    try:
        declared = get_type_hints(function, include_extras=True)
    except NameError:  # the annotation uses a name that is imported for type checkers only
        declared = {}
    return {name: check(name, value, declared.get(name, Any)) for name, value in arguments.items()}


def checked_settings(constructor: Callable[P, None]) -> Callable[P, None]:
    """Decorate an `__init__` so that it checks its arguments against their annotations, with errors as `check`."""
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def checking(*args: P.args, **kwargs: P.kwargs) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.arguments.update(check_arguments(constructor, bound.arguments))
        constructor(*bound.args, **bound.kwargs)

    return checking


def describe(declared: Any) -> str:
    """Return a description of the values that a declaration accepts."""
    words = _DESCRIPTIONS.get(_kind(declared))
    return str(declared) if words is None else words(get_args(declared))


def description(declared: Any) -> str:
    """Return the text that describes a setting; empty if its annotation has none."""
    return next((part for part in getattr(declared, "__metadata__", ()) if isinstance(part, str)), "")


def _limits(parts: tuple[Any, ...]) -> list[Any]:
    return [part for part in parts[1:] if not isinstance(part, str)]


def _kind(declared: Any) -> Any:
    return get_origin(declared) or declared


def _fitting(value: Any, declared: Any) -> list[Any]:
    """Return a list with the value in its declared type; an empty list if the value does not fit."""
    fit = _FITS.get(_kind(declared))
    return [value] if fit is None else fit(value, get_args(declared))


def _fit_limits(value: Any, parts: tuple[Any, ...]) -> list[Any]:
    found = _fitting(value, parts[0])
    return found if found and all(limit.holds(found[0]) for limit in _limits(parts)) else []


def _fit_any(value: Any, parts: tuple[Any, ...]) -> list[Any]:
    return next((found for part in parts if (found := _fitting(value, part))), [])


def _fit_one_of(value: Any, parts: tuple[Any, ...]) -> list[Any]:
    return [value] if any(type(value) is type(part) and value == part for part in parts) else []


def _fit_tuple(value: Any, parts: tuple[Any, ...]) -> list[Any]:
    if not isinstance(value, list | tuple):
        return []
    due = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
    if len(due) != len(value):
        return []
    items = [_fitting(item, part) for item, part in zip(value, due, strict=True)]
    return [tuple(item[0] for item in items)] if all(items) else []


def _fit_whole(value: Any, _: object) -> list[Any]:
    # In Python, True and False are integers.
    if isinstance(value, bool) or not isinstance(value, Integral):
        return []
    return [int(value)] if abs(int(value)) < _TOO_LARGE else []


def _fit_finite(value: Any, _: object) -> list[Any]:
    if isinstance(value, bool) or not isinstance(value, Real):
        return []
    try:
        number = float(value)
    except OverflowError:  # an integer too large for a float
        return []
    return [number] if math.isfinite(number) else []


_PLURALS: Mapping[Any, str] = {float: "finite numbers", str: "texts"}
_FITS: Mapping[Any, Callable[[Any, tuple[Any, ...]], list[Any]]] = {
    Annotated: _fit_limits,
    Literal: _fit_one_of,
    Union: _fit_any,
    types.UnionType: _fit_any,
    tuple: _fit_tuple,
    bool: lambda value, _: [value] if isinstance(value, bool) else [],
    int: _fit_whole,
    float: _fit_finite,
    str: lambda value, _: [value] if isinstance(value, str) else [],
    types.NoneType: lambda value, _: [value] if value is None else [],
    # `check` has handled the values that are mappings or sequences.
    Mapping: lambda _, __: [],
    Sequence: lambda _, __: [],
}
_DESCRIPTIONS: Mapping[Any, Callable[[tuple[Any, ...]], str]] = {
    Annotated: lambda parts: " ".join(filter(None, [describe(parts[0]), *map(str, _limits(parts))])),
    Literal: lambda parts: f"one of {', '.join(map(repr, parts))}" if len(parts) > 1 else repr(parts[0]),
    Union: lambda parts: " or ".join(map(describe, parts)),
    types.UnionType: lambda parts: " or ".join(map(describe, parts)),
    tuple: lambda parts: f"a list of {'' if parts[-1] is Ellipsis else f'{len(parts)} '}{_PLURALS[parts[0]]}",
    Mapping: lambda _: "a mapping",
    Sequence: lambda _: "a list",
    bool: lambda _: "true or false",
    int: lambda _: "a whole number",
    float: lambda _: "a finite number",
    str: lambda _: "text",
    types.NoneType: lambda _: "null",
}
