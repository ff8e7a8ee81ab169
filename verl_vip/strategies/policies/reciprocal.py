"""Counts in proportion to given shares, as the optimum of a separable objective."""

import numpy as np
from torch import Tensor

from verl_vip.allocation.allocate import allocate
from verl_vip.allocation.objective import ClosedFormObjective
from verl_vip.allocation.validation import Counts, Floats
from verl_vip.strategies.contract import Budget


class Reciprocal(ClosedFormObjective):
    """The variance of a mean of n independent terms, f(n) = 1/n.

    Its optimum is n_q in proportion to the square root of the weight (Neyman's allocation).
    """

    def shape(self, n: Floats | Counts) -> Floats:
        """Return 1 / n."""
        return np.asarray(1.0 / n)

    def shape_gain(self, n: Floats | Counts) -> Floats:
        """Return 1 / (n (n + 1))."""
        real = np.asarray(n, dtype=np.float64)
        return 1.0 / (real * (real + 1.0))

    def slope(self, n: Floats) -> Floats:
        """Return 1 / n^2."""
        return np.asarray(1.0 / n**2)

    def stationary(self, ratio: Floats) -> Floats:
        """Return sqrt(ratio)."""
        return np.asarray(np.sqrt(ratio))


def proportional_counts(shares: Tensor, budget: Budget) -> Tensor:
    """Spend the budget exactly, in proportion to the shares as far as the bounds allow.

    The integers minimise Neyman's objective with the squared shares as weights. Prompts with share zero stay at the
    lower bound until all others have reached the upper bound.

    Args:
        shares: A `B` tensor, not negative.
        budget: Feasible for `B` prompts. A lower bound of zero is taken as one.

    Returns:
        A `B` int64 tensor.
    """
    objective = Reciprocal(shares.square())
    return allocate(None, budget.total, lower=max(budget.lower, 1), upper=budget.upper, objective=objective)
