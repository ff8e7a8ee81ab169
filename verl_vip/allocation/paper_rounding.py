"""The paper's rounding: round the relaxed optimum down, then assign the rest by greedy gains."""

import numpy as np

from verl_vip.allocation.exact import exact_counts
from verl_vip.allocation.objective import SmoothObjective
from verl_vip.allocation.relaxed import relaxed_counts
from verl_vip.allocation.validation import Counts

#: A count this close below an integer counts as that integer, because of rounding errors.
FLOOR_TOLERANCE = 1e-9


def paper_counts(objective: SmoothObjective, budget: int, lower: int, upper: int) -> Counts:
    """Round as Algorithm 2 of arXiv 2602.01601 does.

    The greedy steps from floor(n*) find the exact optimum among allocations that are nowhere below floor(n*), so the
    exact solver runs with these floors as lower bounds. This need not be the optimum of the whole problem: if success
    probabilities are very skewed, some optimal counts lie below floor(n*), as in Hill's apportionment.

    Args:
        objective: Convex from `lower` on.
        budget: Total number of rollouts, between `B * lower` and `B * upper`.
        lower: Least number of rollouts of one prompt.
        upper: Largest number of rollouts of one prompt.

    Returns:
        A `B` array of counts that sum to the budget; ties are broken as in `exact_counts`.
    """
    counts, _ = relaxed_counts(objective, budget, lower, upper)
    floors = np.floor(counts + FLOOR_TOLERANCE).astype(np.int64)
    return exact_counts(objective, budget, np.clip(floors, lower, upper), np.full_like(floors, upper))
