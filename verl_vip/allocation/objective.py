"""The objective of an allocation: `sum_q weight_q * f_q(n_q)`, with a shape f_q for each prompt.

There are three base classes. Each requires one more method and offers one more solution:

- `Objective` requires `shape` at integers, which suffices for exact allocation.
- `SmoothObjective` adds `slope`, the derivative, and with it the relaxed solution, found numerically.
- `ClosedFormObjective` adds `stationary`, the derivative's inverse, which makes all solutions fast.

Every shape must be non-increasing and convex from `min_rollouts` on; otherwise the solvers are not exact. To maximise
a value V_q(n), minimise f_q = (V_q(infinity) - V_q(n)) / weight_q.

Example:
    The saturating value 1 - exp(-r_q n), as an objective of its own::

        class Saturating(Objective):
            min_rollouts = 0

            def __init__(self, weight, rate):
                super().__init__(weight)
                self.rate = as_nonnegative(rate, "rate", len(self))

            def shape(self, n):
                return np.exp(-self.rate * n)

    The log-success objective of maximum-likelihood RL under RLOO needs no class, only a weight:
    `Rloo((1 - p) / p)`.
"""

from abc import ABC, abstractmethod

import numpy as np

from verl_vip.allocation.validation import Counts, Floats, Vector, as_nonnegative
from verl_vip.errors import InvalidInputError


class Objective(ABC):
    """A separable objective with falling marginal gains, known at integer counts.

    Arrays of counts have shape `... x B`, so that one call can evaluate many allocations.

    Attributes:
        weight: A `B` array of a_q >= 0.
        min_rollouts: Least n from which every f_q is non-increasing and convex.
    """

    min_rollouts: int = 1

    def __init__(self, weight: Vector) -> None:
        """Keep the weights.

        Args:
            weight: A `B` vector of a_q >= 0. A common factor changes the price but not the allocation.

        Raises:
            InvalidInputError: If a weight is negative or not finite.
        """
        self.weight = as_nonnegative(weight, "weight")

    def __len__(self) -> int:
        return self.weight.size

    @abstractmethod
    def shape(self, n: Floats | Counts) -> Floats:
        """Return f_q(n_q), a `... x B` array, for counts `n` of that shape."""

    def shape_gain(self, n: Floats | Counts) -> Floats:
        """Return f_q(n_q) - f_q(n_q + 1), a `... x B` array. Override it if the difference loses digits."""
        return self.shape(n) - self.shape(n + 1)

    def value(self, n: Floats | Counts) -> Floats:
        """Return a_q f_q(n_q), a `... x B` array; its sum over the last dimension is minimised."""
        return self.weight * self.shape(n)

    def gain(self, n: Floats | Counts) -> Floats:
        """Return by how much rollout n_q + 1 lowers the objective, a `... x B` array."""
        return self.weight * self.shape_gain(n)

    def counts_at_price(self, price: float, lower: Counts, upper: Counts) -> Counts:
        """Return how many rollouts each prompt takes when one costs `price`, by bisection on the gains.

        Args:
            price: The price of one rollout, in units of the objective; positive.
            lower: A `B` array of lower bounds.
            upper: A `B` array of upper bounds.

        Returns:
            A `B` array: `lower`, plus the further rollouts up to `upper` whose gain is at least the price.
        """
        low, high = lower.copy(), upper.copy()
        for _ in range(int((upper - lower).max()).bit_length()):
            middle = (low + high) // 2
            worth = (self.gain(middle) >= price) & (low < high)
            low = np.where(worth, middle + 1, low)
            high = np.where(worth, high, middle)
        return low


def require_weights(objective: Objective) -> None:
    """Raise `InvalidInputError` if a user's objective never set its weights."""
    if not hasattr(objective, "weight"):
        raise InvalidInputError(
            f"{type(objective).__name__} has no weights; call super().__init__(weight) in its __init__."
        )


class SmoothObjective(Objective):
    """An objective whose shapes are differentiable, so that counts may be relaxed to real numbers."""

    @abstractmethod
    def slope(self, n: Floats) -> Floats:
        """Return -f_q'(n_q) >= 0, a `... x B` array that falls with n."""

    def response(self, price: float, lower: Counts, upper: Counts) -> Floats:
        """Return the real counts at which one more rollout is worth exactly the price, clipped to the bounds.

        Args:
            price: The price of one rollout, in units of the objective; positive.
            lower: A `B` array of lower bounds.
            upper: A `B` array of upper bounds.

        Returns:
            A `B` array of the n_q in [lower_q, upper] that minimise a_q f_q(n_q) + price * n_q.
        """
        low, high = lower.astype(np.float64), upper.astype(np.float64)
        # 60 halvings reduce any range of counts below the spacing of doubles.
        for _ in range(60):
            middle = (low + high) / 2
            worth = self.weight * self.slope(middle) > price
            low = np.where(worth, middle, low)
            high = np.where(worth, high, middle)
        return high


class ClosedFormObjective(SmoothObjective):
    """A smooth objective whose derivative has an inverse in closed form."""

    @abstractmethod
    def stationary(self, ratio: Floats) -> Floats:
        """Return the n_q with -f_q'(n_q) = 1 / ratio_q, or any number below the bounds if there is none.

        Args:
            ratio: A `B` array of weight over price, from zero to infinity.

        Returns:
            A `B` array, non-decreasing in `ratio`.
        """

    def response(self, price: float, lower: Counts, upper: Counts) -> Floats:
        """Return the real counts at a price."""
        with np.errstate(over="ignore"):
            ratio = self.weight / price
        return np.asarray(np.minimum(np.maximum(self.stationary(ratio), lower), upper))

    def counts_at_price(self, price: float, lower: Counts, upper: Counts) -> Counts:
        """Return the integer counts at a price.

        With x the real count at that price, convexity gives slope(n + 1) <= gain(n) <= slope(n). The integer count is
        therefore floor(x) or floor(x) + 1, and one gain decides between them.
        """
        counts = self.response(price, lower, upper).astype(np.int64)
        counts += (self.gain(counts) >= price) & (counts < upper)
        return counts
