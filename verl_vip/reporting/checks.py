"""Checks of single values that go into a record; each raises `InvalidInputError` with the value's name."""

import math
from typing import Any

from verl_vip.errors import InvalidInputError


def require_text(name: str, value: Any) -> None:
    """Refuse anything but a string."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be text; got {value!r}.")


def require_mapping(name: str, value: Any) -> None:
    """Refuse anything but a dict with string keys."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidInputError(f"{name} must be a dict with text keys; got {value!r}.")


def require_number(name: str, value: Any) -> None:
    """Refuse anything but a finite int or float; NumPy and torch scalars are not JSON."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InvalidInputError(f"{name} must be a finite Python number; got {value!r}.")


def require_count(name: str, value: Any) -> None:
    """Refuse anything but a non-negative int."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInputError(f"{name} must be a Python int of at least 0; got {value!r}.")


def require_flag(name: str, value: Any) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be a Python bool; got {value!r}.")


def require_probability(name: str, value: Any) -> None:
    """Refuse anything but a number in [0, 1]."""
    require_number(name, value)
    if not 0 <= value <= 1:
        raise InvalidInputError(f"{name} must lie in [0, 1]; got {value!r}.")
