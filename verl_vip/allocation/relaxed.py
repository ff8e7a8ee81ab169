"""The optimum over real counts, and the multiplier that goes with it."""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from verl_vip.allocation.exact import ALMOST_FREE
from verl_vip.allocation.objective import SmoothObjective
from verl_vip.allocation.validation import Floats


@dataclass(frozen=True)
class RelaxedAllocation:
    """The optimum when counts may be real numbers.

    Attributes:
        rollouts: A `B` float64 tensor of counts within the bounds, with sum equal to the budget up to
        rounding.
        price: The multiplier lambda of the budget, in units of the objective: what one more rollout would
            take off it. Where a whole interval fits (all counts at a bound), a value from that interval.
    """

    rollouts: Tensor
    price: float


def relaxed_counts(objective: SmoothObjective, budget: int, lower: int, upper: int) -> tuple[Floats, float]:
    """Minimise `sum_q a_q f_q(n_q)` over reals with `sum_q n_q = budget` and `lower <= n_q <= upper`.

    At a price lambda each prompt takes the count where its slope equals lambda, clipped to the bounds; the
    sum falls with lambda, and lambda is found by bisection on its logarithm (arXiv 2602.01601, Theorems 5.1
    and 5.2).

    Args:
        objective: Convex from `lower` on.
        budget: Rollouts in all, between `B * lower` and `B * upper`.
        lower: Least rollouts of one prompt.
        upper: Most rollouts of one prompt.

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
    low, high = math.log(max(float(flattest.min()), ALMOST_FREE)), math.log(float(steepest.max()))
    few, many = least.astype(np.float64), useful
    while low < (middle := (low + high) / 2) < high:
        counts = objective.response(math.exp(middle), least, most)
        if float(counts.sum()) >= budget:
            low, many = middle, counts
        else:
            high, few = middle, counts
    # The brackets now differ by one rounding of the price; between them the counts are as good as linear.
    gap = float(many.sum() - few.sum())
    share = (budget - float(few.sum())) / gap if gap > 0 else 0.0
    return few + min(max(share, 0.0), 1.0) * (many - few), math.exp(middle)


def _level(counts: Floats, budget: int, upper: int) -> Floats:
    """Raise the smallest counts to one level, at most `upper`, so that they sum to the budget."""
    low, high = float(counts.min()), float(upper)
    while low < (middle := (low + high) / 2) < high:
        if float(np.maximum(counts, middle).sum()) >= budget:
            high = middle
        else:
            low = middle
    return np.maximum(counts, high)
