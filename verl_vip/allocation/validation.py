"""Checks of the allocators' arguments."""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from verl_vip.errors import InfeasibleBudgetError, InvalidInputError

#: A float64 array with one entry for each prompt in the last dimension.
Floats = NDArray[np.float64]
#: An int64 array of rollouts with one entry for each prompt in the last dimension.
Counts = NDArray[np.int64]
#: One number for each prompt, in the types that callers use.
Vector = Tensor | NDArray[np.floating] | Sequence[float]

#: NumPy's kinds that count as real numbers.
_REAL_KINDS = "biuf"
#: Largest number of characters of a wrong value in an error message.
_MOST_SHOWN = 80
#: The largest budget: the sum over a million prompts, each with all of it, fits 64 bits.
MOST_ROLLOUTS = 2**40


def as_vector(values: Vector, name: str, *, finite: bool = True) -> Floats:
    """Return one float64 number for each prompt.

    Args:
        values: A `B` tensor (any device and dtype), array or list.
        name: Name of the values in error messages.
        finite: Whether infinity is refused; NaN is always refused.

    Returns:
        A `B` array.

    Raises:
        InvalidInputError: If the values are not numbers, not one-dimensional, empty, NaN, or infinite although
            that is refused.
    """
    vector = _as_array(values, name).astype(np.float64, copy=False)
    if vector.ndim != 1:
        raise InvalidInputError(
            f"{name} must have one dimension, with one entry for each prompt; got shape {tuple(vector.shape)}."
        )
    if vector.size == 0:
        raise InvalidInputError(f"{name} is empty: there is no prompt to allocate rollouts to; give at least one.")
    bad = ~np.isfinite(vector) if finite else np.isnan(vector)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InvalidInputError(f"{name} must be {'finite' if finite else 'numbers'}; prompt {row} has {vector[row]}.")
    return vector


def _as_array(values: Vector, name: str) -> NDArray[np.generic]:
    """Return real numbers as an array of their own type; tensors become float64, because NumPy lacks bfloat16."""
    try:
        if isinstance(values, Tensor) and not values.is_complex():
            return values.detach().to(device="cpu", dtype=torch.float64).numpy()
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"{name} must be a list of numbers, one for each prompt; got {_short(values)}."
        ) from error
    if array.size and array.dtype.kind not in _REAL_KINDS:
        raise InvalidInputError(f"{name} must be a list of real numbers, one for each prompt; got {_short(values)}.")
    return array


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


def as_probability(values: Vector, name: str = "success_probability") -> Floats:
    """Return `as_vector(values)` after checking that every entry is in [0, 1]."""
    vector = as_vector(values, name)
    outside = (vector < 0) | (vector > 1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise InvalidInputError(f"{name} must be between 0 and 1; prompt {row} has {vector[row]}.")
    return vector


def as_nonnegative(values: Vector, name: str, length: int | None = None) -> Floats:
    """Return `as_vector(values)` after checking that no entry is negative, and the length if one is given."""
    vector = as_vector(values, name)
    if (vector < 0).any():
        row = int(np.flatnonzero(vector < 0)[0])
        raise InvalidInputError(f"{name} must not be negative; prompt {row} has {vector[row]}.")
    if length is not None and vector.size != length:
        raise InvalidInputError(f"{name} must have one entry for each of {length} prompts; got {vector.size}.")
    return vector


def as_count(value: SupportsIndex, name: str) -> int:
    """Return a Python, NumPy or torch integer as an int.

    Raises:
        InvalidInputError: If it is of another type, such as a float or a bool.
    """
    try:
        if getattr(value, "dtype", type(value)) in (bool, torch.bool):
            raise TypeError
        return operator.index(value)
    except TypeError as error:
        raise InvalidInputError(f"{name} must be an integer number of rollouts; got {value!r}.") from error


def require_bounds(lower: int, upper: int, least: int, objective: str) -> None:
    """Raise an error unless `least <= lower <= upper`, where the objective's gains fall from `least` on.

    Raises:
        InvalidInputError: If `lower` exceeds `upper`, or is below `least`.
    """
    if lower > upper:
        raise InvalidInputError(f"lower must not exceed upper; got lower={lower} and upper={upper}.")
    if lower < least:
        raise InvalidInputError(
            f"objective {objective} is convex only from {least} rollouts a prompt; "
            f"got lower={lower}, so raise lower to at least {least}."
        )


def require_countable(budget: int) -> None:
    """Raise `InvalidInputError` if the budget is so large that sums of counts may not fit 64 bits."""
    if budget > MOST_ROLLOUTS:
        raise InvalidInputError(f"budget must be at most 2^40 rollouts; got {budget}.")


def require_feasible(num_prompts: int, budget: int, lower: int, upper: int) -> None:
    """Raise an error unless some counts in [lower, upper] of `num_prompts` prompts sum to the budget.

    Raises:
        InvalidInputError: If the budget is so large that sums of counts may not fit 64 bits.
        InfeasibleBudgetError: If the budget is outside `[B * lower, B * upper]`.
    """
    require_countable(budget)
    least, most = num_prompts * lower, num_prompts * upper
    if not least <= budget <= most:
        raise InfeasibleBudgetError(
            f"{num_prompts} prompts with {lower} to {upper} rollouts each take {least} to {most} rollouts, "
            f"and the budget is {budget}; change the bounds or the budget."
        )
