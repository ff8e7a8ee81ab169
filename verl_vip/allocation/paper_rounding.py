"""The paper's route to integers: round the relaxed optimum down, then hand out the rest by greedy gains."""

import numpy as np

from verl_vip.allocation.exact import exact_counts
from verl_vip.allocation.objective import SmoothObjective
from verl_vip.allocation.relaxed import relaxed_counts
from verl_vip.allocation.validation import Counts

#: A count this close below an integer is that integer, which rounding in the last digits must not lose.
FLOOR_TOLERANCE = 1e-9


def paper_counts(objective: SmoothObjective, budget: int, lower: int, upper: int) -> Counts:
    """Round as Algorithm 2 of arXiv 2602.01601 does.

    Its greedy steps from floor(n*) are the exact optimum among allocations that are nowhere below floor(n*),
    so the exact solver runs with these floors as lower bounds. This is not always the optimum of the problem
    itself: the true optimum may lie below floor(n*) where success probabilities are very skewed, as in Hill's
    apportionment.

    Args:
        objective: Convex from `lower` on.
        budget: Rollouts in all, between `B * lower` and `B * upper`.
        lower: Least rollouts of one prompt.
        upper: Most rollouts of one prompt.

    Returns:
        A `B` array of counts that sum to the budget; ties as in `exact_counts`.
    """
    counts, _ = relaxed_counts(objective, budget, lower, upper)
    floors = np.floor(counts + FLOOR_TOLERANCE).astype(np.int64)
    return exact_counts(objective, budget, np.clip(floors, lower, upper), np.full_like(floors, upper))
