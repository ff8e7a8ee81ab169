"""Choosing among more candidate prompts than the budget can serve: n = 0, or lower <= n <= upper.

This needs an objective that defines the worth of a prompt without rollouts (`skipped_shape`), such as Knapsack RL's
value or a signal-to-noise utility. Variance alone is not enough: a prompt that is left out has no variance, so the
variance would be minimal with as few prompts as possible.

The jump from 0 to `lower` makes each prompt's cost non-convex, and the problem a knapsack. The convex envelope of a
cost is the line from n = 0 to m_q, the count in [lower, upper] with the largest gain per rollout, followed by the cost
itself. The envelope is solved exactly and bounds the optimum from below (Lagrangian duality gives the same bound). In
its optimum, all prompts but one are at zero, or at m_q or more, because tied lines are filled one after the other. The
rollouts of this one prompt go either to the prompts already chosen, or to this prompt, which is then chosen too.
"""

from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from verl_vip.allocation.exact import exact_counts
from verl_vip.allocation.objective import Objective, require_weights
from verl_vip.allocation.validation import Counts, Floats, as_count, require_bounds, require_countable
from verl_vip.errors import InfeasibleBudgetError, InvalidInputError


@dataclass(frozen=True)
class PoolAllocation:
    """Counts for a pool of candidate prompts, some of which are left out.

    Attributes:
        rollouts: A `B` int64 tensor of counts, each zero or within the bounds.
        gap: Upper bound on how much lower the best allocation's objective is, in units of the objective.
    """

    rollouts: Tensor
    gap: float


def allocate_pool(
    objective: Objective, budget: SupportsIndex, *, lower: SupportsIndex, upper: SupportsIndex
) -> PoolAllocation:
    """Choose which candidates get rollouts and how many, so that the summed objective is nearly minimal.

    The budget is spent exactly. The convex envelope certifies the returned gap, which is zero if the envelope's optimum
    is feasible. The gap is at most one prompt's worth, `w = max_q a_q (skipped_shape - f_q(upper))`, in two cases.
    First, the prompts that the envelope fully chooses can take the whole budget: giving them the x rollouts of the
    misplaced prompt loses at most a share x / m_q of its worth. Second, they are full, and the gain per rollout falls
    from `lower` on for every prompt (m_q = lower): the misplaced prompt takes lower - x rollouts from them, which costs
    at most a further share (lower - x) / upper of w. In other cases this limit is not proven; the returned gap is valid
    all the same.

    Args:
        objective: An objective with a `skipped_shape`, for `B` candidates.
        budget: Total number of rollouts.
        lower: Least number of rollouts of a prompt that gets any; at least 1.
        upper: Largest number of rollouts of one prompt.

    Returns:
        The counts and the certified gap. Equal prompts are chosen in the order of their index.

    Raises:
        InvalidInputError: If an argument is malformed, or the objective does not define skipped prompts.
        InfeasibleBudgetError: If no number of prompts within the bounds can spend exactly the budget.
    """
    if not isinstance(objective, Objective):
        raise InvalidInputError(f"a pool needs an Objective with a skipped_shape; got {objective!r}.")
    require_weights(objective)
    if objective.skipped_shape is None:
        raise InvalidInputError(
            f"{type(objective).__name__} does not define the worth of a prompt without rollouts, so none can "
            f"be left out; use an objective with a skipped_shape, such as KnapsackValue or SignalToNoise."
        )
    total, least, most = as_count(budget, "budget"), as_count(lower, "lower"), as_count(upper, "upper")
    require_bounds(least, most, max(objective.min_rollouts, 1), type(objective).__name__)
    require_countable(total)
    most = max(least, min(most, total))  # no prompt can get more than the budget
    fewest, largest = -(-total // most), min(total // least, len(objective))
    if not 1 <= fewest <= largest:
        raise InfeasibleBudgetError(
            f"no number of the {len(objective)} candidates, with {least} to {most} rollouts each, spends "
            f"{total} exactly; change the bounds or the budget."
        )
    envelope = _Envelope(objective, objective.skipped_shape, least, most)
    none, all_ = np.full((2, len(objective)), [[0], [most]], dtype=np.int64)
    bound_counts = exact_counts(envelope, total, none, all_)
    bound = float(envelope.value(bound_counts).sum())
    chosen = bound_counts >= envelope.block
    order = np.lexsort((-envelope.gain(none), ~chosen))
    number = int(chosen.sum())
    sizes = sorted({min(max(size, fewest), largest) for size in (number, number + 1)})
    candidates = [_serve(objective, order[:size], total, least, most) for size in sizes]
    costs = [_cost(objective, objective.skipped_shape, counts) for counts in candidates]
    best = int(np.argmin(costs))
    return PoolAllocation(torch.from_numpy(candidates[best]), max(costs[best] - bound, 0.0))


class _Envelope(Objective):
    """The convex envelope of an objective on {0} and [lower, upper].

    Attributes:
        block: A `B` array of m_q, the length of the linear piece in rollouts.
    """

    min_rollouts = 0

    def __init__(self, inner: Objective, skipped: float, lower: int, upper: int) -> None:
        super().__init__(inner.weight)
        self._inner, self._skipped = inner, skipped
        low, high = np.full((2, len(inner)), [[lower], [upper]], dtype=np.int64)
        # The gain per rollout rises with n as long as the next gain is above it, and falls afterwards.
        for _ in range((upper - lower).bit_length()):
            middle = (low + high) // 2
            rising = (inner.shape_gain(middle) * middle > skipped - inner.shape(middle)) & (low < high)
            low = np.where(rising, middle + 1, low)
            high = np.where(rising, high, middle)
        self.block: Counts = low
        self._line: Floats = np.maximum(skipped - inner.shape(low), 0.0) / low

    def shape(self, n: Floats | Counts) -> Floats:
        later = self._inner.shape(np.maximum(n, self.block))
        return np.where(n < self.block, self._skipped - self._line * n, later)

    def shape_gain(self, n: Floats | Counts) -> Floats:
        return np.where(n < self.block, self._line, self._inner.shape_gain(np.maximum(n, self.block)))


def _serve(objective: Objective, rows: Counts, budget: int, lower: int, upper: int) -> Counts:
    """Return the best counts if exactly the prompts `rows` get rollouts."""
    # The others stay at `lower`, on top of the budget, and are then set to zero: shapes may not exist below `lower`.
    least, most = np.full((2, len(objective)), lower, dtype=np.int64)
    most[rows] = upper
    counts = exact_counts(objective, budget + (len(objective) - rows.size) * lower, least, most)
    served = np.zeros_like(counts)
    served[rows] = counts[rows]
    return served


def _cost(objective: Objective, skipped: float, counts: Counts) -> float:
    """Return the objective of counts, some of which are zero."""
    inside = objective.shape(np.maximum(counts, max(objective.min_rollouts, 1)))
    return float((objective.weight * np.where(counts > 0, inside, skipped)).sum())
