"""How the success probabilities of a pool of prompts are distributed, from few rollouts of each.

The rates of 8 rollouts spread more than the probabilities behind them: a prompt of probability 1/10 looks hopeless in
43 % of its groups. So rates are not counted here. The counts of a prompt are binomial, with a probability drawn from an
unknown distribution G, and G is estimated by maximum likelihood without any further assumption (Kiefer and Wolfowitz,
Ann. Math. Statist. 1956; Laird, JASA 1978), on a grid, where the problem is convex (Koenker and Mizera, JASA 2014). It
is solved by the constrained Newton method (Wang, JRSS B 2007).

Few rollouts do not determine G: with n of each prompt, only its first n moments. The interval of a share therefore has
to hold all values that the counts leave possible. It is the profile likelihood interval: all shares for which some G
explains the counts to within 1.92 of the largest log likelihood, half of the 95 % quantile of chi-square with one
degree of freedom. It is wide with few rollouts of each prompt, and short with many.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, nnls
from scipy.stats import chi2

from verl_vip.errors import InvalidInputError
from verl_vip.statistics.intervals import Estimate

FloatArray = NDArray[np.float64]

_POINTS = 120
#: Probabilities, denser towards 0 and 1, where the same difference changes more outcomes.
GRID: FloatArray = np.sin(np.pi / 2 * np.arange(_POINTS + 1) / _POINTS) ** 2
#: More rollouts of a prompt are counted as this many with the same rate: the grid resolves no more.
_MOST_ROLLOUTS = 256
#: Graded successes are rounded to multiples of this, so that few different counts remain.
_GRADE = 0.25
_DROP = float(chi2.ppf(0.95, 1)) / 2
_PRECISION = 1e-3
#: The smooth estimate stops this far below the largest log likelihood.
_SLACK = 0.5
_EM_STEPS, _NEWTON_STEPS, _TOLERANCE = 2000, 50, 1e-6
#: Cutting planes for an extreme distribution, and how far its mean may stay behind the bound, relative to the range.
_CUTS, _GAP = 40, 1e-2


@dataclass(frozen=True)
class SuccessDistribution:
    """The estimated distribution of success probabilities over prompts.

    Attributes:
        prompts: The number of prompts.
        weight: An array of the probabilities of `GRID`. Among the distributions that explain the counts about equally
            well, it is a smooth one.
        likelihood: The likelihood of each different count at each point of the grid, up to a factor, `K x GRID`.
        frequency: A `K` array, the number of prompts with each count.
    """

    prompts: int
    weight: FloatArray
    likelihood: FloatArray
    frequency: FloatArray

    @cached_property
    def most_likely(self) -> float:
        """The largest log likelihood of any distribution, up to a constant."""
        return self._profile(np.zeros(len(GRID), dtype=np.int64), np.ones(1))[0]

    def share(self, low: float, high: float) -> Estimate:
        """Return the share of prompts with `low < p < high`, with its 95 % profile likelihood interval.

        Args:
            low: The lower limit.
            high: The upper limit.

        Raises:
            InvalidInputError: If no point of the grid, or every point, lies between the limits.
        """
        inside = _between(low, high)
        value = float(self.weight[inside].sum().clip(0, 1))

        def drop(share: float) -> float:
            return self.most_likely - self._profile(inside.astype(np.int64), np.array([1 - share, share]))[0]

        return Estimate(value, _edge(drop, value, 0.0), _edge(drop, value, 1.0))

    def with_share(self, low: float, high: float, share: float) -> "SuccessDistribution":
        """Return the distribution that explains the counts best among those with a given share of `low < p < high`."""
        inside = _between(low, high)
        _, weight = self._profile(inside.astype(np.int64), np.array([1 - share, share]))
        return replace(self, weight=weight)

    def with_largest(self, values: FloatArray) -> "SuccessDistribution":
        """Return the distribution with the largest mean of a function of p among those that the counts leave possible.

        These are the distributions that explain the counts to within 1.92 of the largest log likelihood. Their set is
        convex, and supporting planes enclose it (Veinott, Operations Research 1967).

        Args:
            values: The function at `GRID`.
        """
        least = self.most_likely - _DROP
        found = self.weight
        planes: list[FloatArray] = []
        span = float(np.ptp(values)) or 1.0
        for _ in range(_CUTS):
            # The slope of the log likelihood at a distribution, times this distribution, is the number of prompts.
            slope, level = self._slope(found)
            planes.append(np.append(-slope / self.prompts, (level - least) / self.prompts - 1))
            rows = np.stack(planes)
            outer = linprog(-values, rows[:, :-1], rows[:, -1], np.ones((1, len(GRID))), [1.0], method="highs")
            if outer.x is None:
                break
            found = self._towards(outer.x, least)
            if (outer.x - found) @ values <= _GAP * span:
                break
        return replace(self, weight=found)

    def _slope(self, weight: FloatArray) -> tuple[FloatArray, float]:
        """Return the gradient of the log likelihood, and its value."""
        mixed = np.maximum(self.likelihood @ weight, 1e-300)
        gradient: FloatArray = (self.frequency / mixed) @ self.likelihood
        return gradient, float(self.frequency @ np.log(mixed))

    def _towards(self, far: FloatArray, least: float) -> FloatArray:
        """Return the last mixture of the estimate and another distribution whose log likelihood is at least `least`."""
        near, own, other = self.weight, self.likelihood @ self.weight, self.likelihood @ far
        low, high = 0.0, 2.0  # the first middle is the other distribution itself
        for _ in range(30):
            middle = (low + high) / 2
            value = self.frequency @ np.log(np.maximum(own + middle * (other - own), 1e-300))
            low, high = (middle, min(high, 1.0)) if value >= least else (low, middle)
        mixed: FloatArray = near + low * (far - near)
        return mixed

    def mean_of(self, values: FloatArray) -> float:
        """Return the mean over prompts of a function of p, given by its values at `GRID`."""
        return float(values @ self.weight)

    def quantiles(self, size: int) -> FloatArray:
        """Return `size` probabilities that are spread as the distribution is, in ascending order."""
        positions = (np.arange(size) + 0.5) / size
        rows = np.searchsorted(np.cumsum(self.weight), positions).clip(0, len(GRID) - 1)
        chosen: FloatArray = GRID[rows]
        return chosen

    def _profile(self, member: NDArray[np.int64], masses: FloatArray) -> tuple[float, FloatArray]:
        """Return the largest log likelihood with given masses of groups of points, and the weights that reach it.

        Args:
            member: The group of each point.
            masses: The mass of each group.
        """
        start = np.maximum(self.weight, 1e-9)
        return _newton(self.likelihood, self.frequency, member, masses, start)


def fit_success_distribution(successes: FloatArray, trials: NDArray[np.int64]) -> SuccessDistribution:
    """Estimate the distribution of success probabilities of `P` prompts.

    Args:
        successes: A `P` array, the successes of each prompt; fractions for graded rewards, which are then treated as if
            their variance were that of 0/1 rewards with the same mean.
        trials: A `P` array, the rollouts of each prompt, at least 1.

    Raises:
        InvalidInputError: If there is no prompt, or a count is impossible.
    """
    if not len(trials) or len(trials) != len(successes):
        raise InvalidInputError("a distribution needs the successes and the rollouts of at least one prompt.")
    if not ((trials >= 1) & (successes >= 0) & (successes <= trials)).all():
        raise InvalidInputError("successes must lie between 0 and the rollouts, of which each prompt needs one.")
    scale = np.minimum(1.0, _MOST_ROLLOUTS / trials)
    won = np.round(successes * scale / _GRADE) * _GRADE
    if (successes == np.round(successes)).all():
        won = np.round(won)
    counts = np.stack([np.minimum(won, np.round(trials * scale)), np.round(trials * scale)])
    (won, total), frequency = np.unique(counts, axis=1, return_counts=True)
    likelihood, weights = _likelihood(won, total), frequency.astype(np.float64)
    flat = np.full(len(GRID), 1 / len(GRID))
    found = SuccessDistribution(len(trials), flat, likelihood, weights)
    smooth = _smooth(likelihood, weights, flat, found.most_likely - _SLACK)
    return SuccessDistribution(len(trials), smooth, likelihood, weights)


def _between(low: float, high: float) -> NDArray[np.bool_]:
    inside = (low < GRID) & (high > GRID)
    if not inside.any() or inside.all():
        raise InvalidInputError(f"limits must cut the range from 0 to 1 in two; got {low} and {high}.")
    return inside


def _likelihood(won: FloatArray, total: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.where(won[:, None] > 0, won[:, None] * np.log(GRID), 0.0)
        lost = (total - won)[:, None]
        wrong = np.where(lost > 0, lost * np.log1p(-GRID), 0.0)
    logs = right + wrong
    relative: FloatArray = np.exp(logs - logs.max(axis=1, keepdims=True))
    return relative


def _smooth(likelihood: FloatArray, frequency: FloatArray, start: FloatArray, enough: float) -> FloatArray:
    """Return a distribution with a log likelihood of about `enough`, by EM from a flat start.

    EM moves slowly away from where it starts, so that an early stop keeps what the counts do not contradict (Efron,
    Biometrika 2016, has a parametric form of the same idea).
    """
    weight = start
    for _ in range(_EM_STEPS):
        mixed = likelihood @ weight
        if frequency @ np.log(mixed) >= enough:
            break
        weight = weight * ((frequency / mixed) @ likelihood)
        weight = weight / weight.sum()
    return weight


def _newton(
    likelihood: FloatArray,
    frequency: FloatArray,
    member: NDArray[np.int64],
    masses: FloatArray,
    start: FloatArray,
) -> tuple[float, FloatArray]:
    """Return the largest log likelihood of a mixture whose groups of components have the given masses, and its weights.

    Each step solves the quadratic approximation as non-negative least squares, in which heavy rows hold the masses.
    """
    groups = (member == np.arange(len(masses))[:, None]).astype(np.float64)
    even = masses @ (groups / groups.sum(axis=1, keepdims=True))

    def rescaled(weight: FloatArray) -> FloatArray:
        sums: FloatArray = groups @ weight
        factor = masses / np.where(sums > 0, sums, 1.0)
        scaled: FloatArray = np.where((sums > 0)[member], weight * factor[member], even)
        return scaled

    heavy = 100 * np.sqrt(frequency.sum())
    root = np.sqrt(frequency)
    weight = rescaled(start)
    mixed = likelihood @ weight
    value = float(frequency @ np.log(np.maximum(mixed, 1e-300)))
    for _ in range(_NEWTON_STEPS):
        matrix = np.vstack([(root / np.maximum(mixed, 1e-300))[:, None] * likelihood, heavy * groups])
        target, _ = nnls(matrix, np.concatenate([2 * root, heavy * masses]), maxiter=20 * len(weight))
        move = rescaled(target) - weight
        slope = float(frequency @ ((likelihood @ move) / np.maximum(mixed, 1e-300)))
        if slope < _TOLERANCE:
            break
        step = 1.0
        while step > _TOLERANCE:
            after = likelihood @ (weight + step * move)
            reached = float(frequency @ np.log(np.maximum(after, 1e-300)))
            if reached >= value + step * slope / 3:
                break
            step /= 2
        else:
            break
        weight, mixed, value = weight + step * move, after, reached
    return value, weight


def _edge(drop: Callable[[float], float], value: float, end: float) -> float:
    """Return how far a share may lie from the estimate towards 0 or 1, by bisection of the drop in likelihood."""
    if drop(end) <= _DROP:
        return end
    near, far = value, end
    while abs(far - near) > _PRECISION:
        middle = (near + far) / 2
        near, far = (middle, far) if drop(middle) <= _DROP else (near, middle)
    return near
