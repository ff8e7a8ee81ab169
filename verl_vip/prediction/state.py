"""The envelope of a predictor's saved state: kind, version, settings and values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from verl_vip.errors import StateError
from verl_vip.state_file import restoring

#: What to do about a damaged state.
_ADVICE = "take an earlier checkpoint or start afresh"
#: Upper limit of the numbers in a state; embeddings are shorter than this, see `Prompts`.
_LARGEST = 1e16
#: Version of the layout of every predictor's state. Raise it whenever a key of any state changes.
VERSION = 6


def pack(kind: str, settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Wrap a predictor's values.

    Args:
        kind: The predictor's name.
        settings: Its constructor's arguments; numbers, strings and None.
        values: Tensors, numbers, strings and containers of them.
    """
    return {"kind": kind, "version": VERSION, "settings": dict(settings), "values": dict(values)}


@contextmanager
def unpack(
    state: Mapping[str, Any], kind: str, settings: Mapping[str, Any], names: frozenset[str]
) -> Iterator[dict[str, Any]]:
    """Check that a packed state belongs to this predictor, and yield its values.

    An error inside the `with` block, such as one from a value of a wrong type or shape, becomes a `StateError`. Assign
    to the predictor only after everything has been restored.

    Args:
        state: What `pack` returned.
        kind: The name of the predictor that is restored.
        settings: Its settings.
        names: The values that it needs.

    Yields:
        The values, by name.

    Raises:
        StateError: If the state belongs to another predictor, version or setting, lacks a value, holds a number that
            is not finite or larger than `1e16`, or cannot be restored.
    """
    _require_same_predictor(state, kind, settings)
    values = state["values"]
    if not isinstance(values, Mapping) or not _is_finite(values):
        raise StateError(
            f"the state of predictor {kind!r} is damaged: not all numbers are finite and below {_LARGEST:g}; {_ADVICE}."
        )
    absent = names - values.keys()
    if absent:
        raise StateError(f"the state of predictor {kind!r} is incomplete: it lacks {', '.join(sorted(absent))}.")
    with restoring(f"predictor {kind!r}"):
        yield dict(values)


def require(sound: bool | Tensor, what: str) -> None:
    """Raise an error unless a condition on a saved state holds.

    Args:
        sound: The condition, or a tensor of conditions that must all hold.
        what: What is wrong otherwise; completes the sentence "the saved ...".

    Raises:
        StateError: If the condition does not hold.
    """
    if not bool(torch.as_tensor(sound).all()):
        raise StateError(f"the saved {what}; {_ADVICE}.")


def copied(value: Any, dtype: torch.dtype, *shape: int | None) -> Tensor:
    """Return a copy of a saved tensor.

    Args:
        value: The saved value.
        dtype: The required type.
        shape: The required shape; None stands for any length.

    Raises:
        StateError: If the value is not such a tensor.
    """
    if not isinstance(value, Tensor):
        raise StateError(f"a saved tensor is a {type(value).__name__}; {_ADVICE}.")
    fits = value.ndim == len(shape) and all(
        due in (None, length) for due, length in zip(shape, value.shape, strict=True)
    )
    if value.dtype != dtype or not fits:
        wanted = ", ".join("any" if due is None else str(due) for due in shape)
        raise StateError(
            f"a saved tensor should be {dtype} ({wanted}), but is {value.dtype} {tuple(value.shape)}; {_ADVICE}."
        )
    return value.detach().clone()


def _require_same_predictor(state: Mapping[str, Any], kind: str, settings: Mapping[str, Any]) -> None:
    if not isinstance(state, Mapping):
        raise StateError(f"this is not a predictor's state: it is a {type(state).__name__}.")
    missing = {"kind", "version", "settings", "values"} - state.keys()
    if missing:
        raise StateError(f"this is not a predictor's state: it lacks {', '.join(sorted(missing))}.")
    if state["kind"] != kind:
        raise StateError(
            f"this is the state of predictor {state['kind']!r}, and {kind!r} cannot continue from it; "
            f"configure {state['kind']!r} or start afresh."
        )
    if state["version"] != VERSION:
        raise StateError(
            f"the state of predictor {kind!r} has version {state['version']}, and this release reads version "
            f"{VERSION}; continue with the release that wrote it or start afresh."
        )
    saved = state["settings"]
    if not isinstance(saved, Mapping):
        raise StateError(f"the state of predictor {kind!r} is damaged: its settings are {saved!r}; {_ADVICE}.")
    for name in sorted(saved.keys() | settings.keys()):
        if saved.get(name) != settings.get(name):
            raise StateError(
                f"the state of predictor {kind!r} was made with {name}={saved.get(name)!r}, and it is "
                f"now {settings.get(name)!r}; restore that setting or start afresh."
            )


def _is_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool((value.abs() <= _LARGEST).all())
    if isinstance(value, (int, float)):
        return abs(value) <= _LARGEST
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    return isinstance(value, str) or not isinstance(value, Sequence) or all(map(_is_finite, value))
