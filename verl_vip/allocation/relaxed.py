"""The optimum over real counts, and its multiplier."""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from verl_vip.allocation.exact import ALMOST_FREE
from verl_vip.allocation.objective import SmoothObjective
from verl_vip.allocation.validation import Counts, Floats

#: Relative difference up to which a sum counts as equal to the budget.
ROUNDING = 1e-14


@dataclass(frozen=True)
class RelaxedAllocation:
    """The optimum over real counts.

    Attributes:
        rollouts: A `B` float64 tensor of counts within the bounds, with sum equal to the budget up to
        rounding.
        price: The multiplier lambda of the budget, in units of the objective: by how much one more rollout would lower
            it. If every count is at a bound, lambda is one value of the interval of multipliers.
    """

    rollouts: Tensor
    price: float


def relaxed_counts(objective: SmoothObjective, budget: int, lower: int, upper: int) -> tuple[Floats, float]:
    """Minimise `sum_q a_q f_q(n_q)` over reals with `sum_q n_q = budget` and `lower <= n_q <= upper`.

    At a price lambda, each prompt takes the count where its slope equals lambda, clipped to the bounds
    (arXiv 2602.01601, Theorems 5.1 and 5.2). The sum falls with lambda, which is found by a search on a log scale.

    Args:
        objective: Convex from `lower` on.
        budget: Total number of rollouts, between `B * lower` and `B * upper`.
        lower: Least number of rollouts of one prompt.
        upper: Largest number of rollouts of one prompt.

    Returns:
        A `B` array of counts, and the price.
    """
    least, most = np.full((2, len(objective)), [[lower], [upper]], dtype=np.int64)
    steepest = objective.weight * objective.slope(least.astype(np.float64))
    flattest = objective.weight * objective.slope(most.astype(np.float64))
    if budget == lower * len(objective) or lower == upper:
        return least.astype(np.float64), float(steepest.max())
    if budget == upper * len(objective):
        return most.astype(np.float64), float(flattest.min())
    useful = objective.response(ALMOST_FREE, least, most)
    if float(useful.sum()) <= budget:
        return _level(useful, budget, upper), 0.0
    ends = math.log(max(float(flattest.min()), ALMOST_FREE)), math.log(float(steepest.max()))
    return _search(objective, budget, (least, most), ends, (least.astype(np.float64), useful))


def _search(
    objective: SmoothObjective,
    budget: int,
    bounds: tuple[Counts, Counts],
    ends: tuple[float, float],
    counts_at_ends: tuple[Floats, Floats],
) -> tuple[Floats, float]:
    """Find the price between two log prices, at which the sums are too large and too small.

    This is regula falsi with the Illinois weights, and a bisection at every fourth step, so that a flat sum cannot
    stall it.
    """
    (low, high), (few, many) = ends, counts_at_ends
    # The errors of the sums at both ends, and their Illinois weights: the errors, halved while the other end moves.
    above, below = float(many.sum()) - budget, budget - float(few.sum())
    weight_low, weight_high = above, below
    last, step = 0.0, 0
    while True:
        step += 1
        share = 0.5 if step % 4 == 0 else weight_low / (weight_low + weight_high)
        point = low + (high - low) * share
        if not low < point < high:
            break
        counts = objective.response(math.exp(point), *bounds)
        error = float(counts.sum()) - budget
        if error >= 0:
            low, many, above, weight_low = point, counts, error, error
            weight_high = weight_high / 2 if last > 0 else below
        else:
            high, few, below, weight_high = point, counts, -error, -error
            weight_low = weight_low / 2 if last < 0 else above
        last = error
        if abs(error) <= ROUNDING * budget:
            break
    # Interpolating between the ends makes up for rounding errors, and stays within the bounds.
    return few + below / (above + below) * (many - few), math.exp(point)


def _level(counts: Floats, budget: int, upper: int) -> Floats:
    """Raise the smallest counts to one level, at most `upper`, so that they sum to the budget."""
    low, high = float(counts.min()), float(upper)
    while low < (middle := (low + high) / 2) < high:
        if float(np.maximum(counts, middle).sum()) >= budget:
            high = middle
        else:
            low = middle
    return np.maximum(counts, high)
