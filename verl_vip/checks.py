"""Checks of the single values in a record. Each raises an `InvalidInputError` that names the value."""

import math
from collections.abc import Mapping
from reprlib import repr as shortened
from typing import Any

from verl_vip.errors import InvalidInputError

#: Larger than any count of a run, and small enough that sums stay exact and fit into 64 bits.
_LARGEST_COUNT = 10**12
#: More levels than any settings have, and few enough that a recursion over them cannot exhaust the stack.
_DEEPEST = 50
_SCALARS = frozenset({str, int, float, bool, type(None)})
#: The end of the year 9999, in Unix time.
_LATEST = 253_402_300_799


def require_text(name: str, value: Any) -> None:
    """Refuse anything but a string."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be text; got {shortened(value)}.")


def require_mapping(name: str, value: Any) -> None:
    """Refuse anything but a dict with string keys that is not nested too deeply for a recursion over it."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidInputError(f"{name} must be a dict with text keys; got {shortened(value)}.")
    if _is_deep(value):
        raise InvalidInputError(f"{name} is nested more than {_DEEPEST} levels deep.")


def require_number(name: str, value: Any) -> None:
    """Refuse anything but a finite int or float. JSON cannot hold NumPy and torch scalars."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not _is_finite(value):
        raise InvalidInputError(f"{name} must be a finite Python number; got {shortened(value)}.")


def require_count(name: str, value: Any) -> None:
    """Refuse anything but a non-negative int of plausible size."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_COUNT:
        raise InvalidInputError(f"{name} must be a Python int of at least 0; got {shortened(value)}.")


def require_flag(name: str, value: Any) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be a Python bool; got {shortened(value)}.")


def require_time(name: str, value: Any) -> None:
    """Refuse anything but a Unix time, from 1970 to the year 9999."""
    require_number(name, value)
    if not 0 <= value <= _LATEST:
        raise InvalidInputError(f"{name} must be a Unix time in seconds; got {shortened(value)}.")


def require_seconds(name: str, value: Any) -> None:
    """Refuse anything but a non-negative time span in seconds, up to the largest accepted Unix time."""
    require_number(name, value)
    if not 0 <= value <= _LATEST:
        raise InvalidInputError(f"{name} must be a number of seconds of at least 0; got {shortened(value)}.")


def require_probability(name: str, value: Any) -> None:
    """Refuse anything but a number in [0, 1]."""
    require_number(name, value)
    if not 0 <= value <= 1:
        raise InvalidInputError(f"{name} must lie in [0, 1]; got {shortened(value)}.")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int too large for a float
        return False


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, Mapping) else one)
            # isinstance with Mapping is slow, and a run's config has hundreds of plain values.
            if type(child) not in _SCALARS and isinstance(child, list | Mapping)
        ]
        if not level:
            return False
    return True
