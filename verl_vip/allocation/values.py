"""Values to maximise: the worth of n rollouts according to other allocators.

A value that grows from zero to its full worth a_q, `V_q(n) = a_q (1 - f_q(n))`, is maximised by minimising
`a_q f_q(n)`.
"""

import numpy as np
import torch

from verl_vip.allocation.objective import ClosedFormObjective, SmoothObjective
from verl_vip.allocation.validation import Counts, Floats, Vector, as_nonnegative, as_probability
from verl_vip.errors import InvalidInputError


class KnapsackValue(SmoothObjective):
    """The value of Knapsack RL: the probability of a group with both outcomes, times p (1-p)^2.

    V(n) = p (1-p)^2 (1 - p^n - (1-p)^n). A single rollout has no value, so V is concave from n = 1 on.
    """

    def __init__(self, success_probability: Vector) -> None:
        """Set p, a `B` vector in [0, 1].

        Raises:
            InvalidInputError: If a probability is outside [0, 1].
        """
        self.success = as_probability(success_probability)
        self.failure = 1.0 - self.success
        super().__init__(self.success * self.failure**2)

    def shape(self, n: Floats | Counts) -> Floats:
        """Return p^n + (1-p)^n, the probability that all n rewards agree."""
        return np.asarray(self.success**n + self.failure**n)

    def shape_gain(self, n: Floats | Counts) -> Floats:
        """Return p^n (1-p) + (1-p)^n p."""
        return np.asarray(self.success**n * self.failure + self.failure**n * self.success)

    def slope(self, n: Floats) -> Floats:
        """Return -p^n log p - (1-p)^n log(1-p)."""
        tiny = np.finfo(np.float64).tiny  # 0^n log 0 is 0
        success = self.success**n * np.log(np.maximum(self.success, tiny))
        return np.asarray(-success - self.failure**n * np.log(np.maximum(self.failure, tiny)))


class CobaValue(ClosedFormObjective):
    """The value of CoBA-RL, which saturates at the rate p(1-p) / tau.

    V(n) = a (1 - exp(-n p(1-p) / tau)), where the worth a is the density of the strategy's current
    Beta(alpha, beta) at p.
    """

    min_rollouts = 0

    def __init__(self, weight: Vector, rate: Vector) -> None:
        """Set each prompt's worth and rate.

        Args:
            weight: A `B` vector, the worth of a prompt with unlimited rollouts.
            rate: A `B` vector of p(1-p) / tau.

        Raises:
            InvalidInputError: If one is negative or not finite, or lengths differ.
        """
        super().__init__(weight)
        self.rate = as_nonnegative(rate, "rate", len(self))

    def shape(self, n: Floats | Counts) -> Floats:
        """Return exp(-rate n)."""
        return np.asarray(np.exp(-self.rate * n))

    def shape_gain(self, n: Floats | Counts) -> Floats:
        """Return exp(-rate n) (1 - exp(-rate))."""
        return np.asarray(-np.exp(-self.rate * n) * np.expm1(-self.rate))

    def slope(self, n: Floats) -> Floats:
        """Return rate exp(-rate n)."""
        return np.asarray(self.rate * np.exp(-self.rate * n))

    def stationary(self, ratio: Floats) -> Floats:
        """Return log(rate * ratio) / rate; zero where that is negative or the rate is zero."""
        rate = np.where(self.rate > 0, self.rate, 1.0)
        with np.errstate(over="ignore"):
            product = np.where(self.rate > 0, rate * ratio, 0.0)
        return np.asarray(np.log(np.maximum(product, 1.0)) / rate)


class HoraValue(SmoothObjective):
    """The value of HORA: the probability of a success in n further rollouts, if p ~ Beta(alpha, beta).

    V(n) = 1 - prod_{j<n} (beta + j) / (alpha + beta + j) (arXiv 2605.07114), extended to real n by gamma functions.
    """

    min_rollouts = 0

    def __init__(self, alpha: Vector, beta: Vector) -> None:
        """Set the Beta distribution of each prompt.

        Args:
            alpha: A `B` vector, for example one plus the successes seen.
            beta: A `B` vector, for example one plus the failures seen.

        Raises:
            InvalidInputError: If a parameter is not positive and finite, or lengths differ.
        """
        self.alpha = as_nonnegative(alpha, "alpha")
        super().__init__(np.ones(self.alpha.size))
        self.beta = as_nonnegative(beta, "beta", len(self))
        if not ((self.alpha > 0).all() and (self.beta > 0).all()):
            raise InvalidInputError("alpha and beta of a Beta distribution must be positive.")

    def shape(self, n: Floats | Counts) -> Floats:
        """Return the probability that n further rollouts all fail."""
        total = self.alpha + self.beta
        return np.asarray(
            np.exp(_log_gamma(self.beta + n) - _log_gamma(self.beta) + _log_gamma(total) - _log_gamma(total + n))
        )

    def shape_gain(self, n: Floats | Counts) -> Floats:
        """Return the probability that the first success is rollout n + 1."""
        return np.asarray(self.shape(n) * self.alpha / (self.alpha + self.beta + n))

    def slope(self, n: Floats) -> Floats:
        """Return shape(n) (psi(alpha + beta + n) - psi(beta + n))."""
        return np.asarray(self.shape(n) * (_digamma(self.alpha + self.beta + n) - _digamma(self.beta + n)))


def _log_gamma(x: Floats) -> Floats:
    return np.asarray(torch.lgamma(torch.from_numpy(np.asarray(x))).numpy())


def _digamma(x: Floats) -> Floats:
    return np.asarray(torch.digamma(torch.from_numpy(np.asarray(x))).numpy())
