"""Gradient variances to minimise, of policy-gradient estimators over groups of n rollouts.

Setting: rewards of a prompt are i.i.d. with variance v, and the score of a rollout has variance sigma_Z^2
independent of its reward (Nguyen et al., arXiv 2602.01601, Assumption 4.1). Then the group's gradient has
variance a f(n) with a = sigma_Z^2 v, and v = p(1-p) for 0/1 rewards (4p(1-p) for rewards of -1 and 1).

Maximising `sum_q G(p_q)` instead of `sum_q p_q` multiplies a prompt's gradient by G'(p) and its weight by G'(p)^2.
For log p the weight is (1-p)/p; for the arcsine of the square root it is constant, so that counts are uniform.
"""

import math

import numpy as np

from verl_vip.allocation.objective import ClosedFormObjective, SmoothObjective
from verl_vip.allocation.validation import Counts, Floats, Vector, as_vector
from verl_vip.errors import InvalidInputError


class Rloo(ClosedFormObjective):
    """The variance of REINFORCE with a leave-one-out baseline, f(n) = 1 / (n - 1).

    Source: arXiv 2602.01601, Proposition 4.3 and Theorem 5.2. Convex for n > 1.
    """

    min_rollouts = 2

    def shape(self, n: Floats | Counts) -> Floats:
        """Return 1 / (n - 1)."""
        return 1.0 / (n - 1)

    def shape_gain(self, n: Floats | Counts) -> Floats:
        """Return 1 / (n (n - 1))."""
        real = np.asarray(n, dtype=np.float64)
        return 1.0 / (real * (real - 1.0))

    def slope(self, n: Floats) -> Floats:
        """Return 1 / (n - 1)^2."""
        return 1.0 / (n - 1.0) ** 2

    def stationary(self, ratio: Floats) -> Floats:
        """Return 1 + sqrt(ratio)."""
        return np.asarray(1.0 + np.sqrt(ratio))

    def counts_at_price(self, price: float, lower: Counts, upper: Counts) -> Counts:
        """Return floor(3/2 + sqrt(1/4 + weight/price)), clipped: the last n with (n - 1)(n - 2) <= ratio."""
        with np.errstate(over="ignore"):
            counts = self.weight / price
        np.sqrt(np.add(counts, 0.25, out=counts), out=counts)
        np.add(counts, 1.5, out=counts)
        return np.asarray(np.minimum(np.maximum(counts, lower), upper), dtype=np.int64)


class DrGrpo(ClosedFormObjective):
    """The variance of Dr.GRPO's gradient, f(n) = (n - 1) / n^2.

    Source: arXiv 2602.01601, Proposition 4.2 and Theorem 5.1. Convex only for n >= 3: the gain of the third rollout is
    smaller than that of the fourth, so that a greedy allocation from n = 2 can fail.
    """

    min_rollouts = 3

    def shape(self, n: Floats | Counts) -> Floats:
        """Return (n - 1) / n^2."""
        real = np.asarray(n, dtype=np.float64)
        return (real - 1.0) / real**2

    def shape_gain(self, n: Floats | Counts) -> Floats:
        """Return (n^2 - n - 1) / (n (n + 1))^2."""
        real = np.asarray(n, dtype=np.float64)
        square = real * real
        return (square - real - 1.0) / (square + real) ** 2

    def slope(self, n: Floats) -> Floats:
        """Return (n - 2) / n^3."""
        return (n - 2.0) / n**3

    def stationary(self, ratio: Floats) -> Floats:
        """Return the largest root of n^3 - ratio * n + 2 * ratio = 0, at least 3.

        The trigonometric form with an arcsine keeps its digits at large ratios, where the arc cosine would lose them.
        Below ratio = 27, the slope at n = 3, there is no such root, and the result is 3.
        """
        ratio = np.maximum(ratio, 27.0)
        angle = math.pi / 6 + np.arcsin(np.sqrt(27.0 / ratio)) / 3
        return np.asarray(np.sqrt(ratio) * math.sqrt(4 / 3) * np.cos(angle))


class PredictedBaseline(SmoothObjective):
    """The variance with the prediction as baseline, f(n; s) = (n + s) / (n (n + s - 1)).

    With the prior p ~ Beta(s m, s (1 - m)), the leave-one-out posterior mean
    `b_i = (s m + sum of the others' rewards) / (s + n - 1)` is a baseline independent of reward i. Averaged over the
    prior, the gradient's variance is `sigma_Z^2 E[p(1-p)] f(n; s)`. s = 0 is RLOO; s = infinity, a known success
    probability, gives 1/n. f(n; s) = 1/n * (1 + 1/(n + s - 1)) is a product of two positive, falling, convex functions,
    and therefore convex, for n >= 1 if s > 0: one rollout is enough.

    Unlike RLOO's, these advantages do not sum to zero. Scores with a mean mu_Z other than zero therefore add
    `mu_Z^2 E[p(1-p)] f(n; s) s / (s + n - 1)`. Scores of whole rollouts have mean zero; dividing them by the rollout's
    length can change that.
    """

    def __init__(self, weight: Vector, strength: Vector | float) -> None:
        """Set weights and prior strengths.

        Args:
            weight: A `B` vector of E[p(1-p)].
            strength: The prior strength s, in rollouts: a `B` vector or one number for all. It follows from
                the prediction as `m (1 - m) / Var[p] - 1`. Infinity means that p is known.

        Raises:
            InvalidInputError: If a strength is negative or NaN, or lengths differ.
        """
        super().__init__(weight)
        if isinstance(strength, int | float | np.number):
            strength = np.full(len(self), float(strength))
        self.strength: Floats = as_vector(strength, "strength", finite=False)
        if self.strength.size != len(self) or not (self.strength >= 0).all():
            raise InvalidInputError(
                f"strength must be one number, or one for each of {len(self)} prompts, and not negative."
            )
        # With s below the spacing of doubles at 1, one rollout has no baseline, as with s = 0.
        self.min_rollouts = 1 if (1.0 + self.strength > 1.0).all() else 2

    def shape(self, n: Floats | Counts) -> Floats:
        """Return (1 + 1 / (n + s - 1)) / n."""
        return np.asarray((1.0 + 1.0 / (n + self.strength - 1.0)) / n)

    def shape_gain(self, n: Floats | Counts) -> Floats:
        """Return (1 + 1/(m - 1) + (n/m)/(m - 1)) / (n (n + 1)) with m = n + s, which loses no digits."""
        total = n + self.strength
        return np.asarray((1.0 + (1.0 + n / total) / (total - 1.0)) / (n * (n + 1.0)))

    def slope(self, n: Floats) -> Floats:
        """Return (1 + 1/k) / n^2 + 1 / (n k^2) with k = n + s - 1."""
        others = n + self.strength - 1.0
        return np.asarray((1.0 + 1.0 / others) / n**2 + 1.0 / (n * others**2))
