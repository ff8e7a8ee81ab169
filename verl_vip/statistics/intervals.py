"""95% confidence intervals: of means over problems or seeds, proportions, paired differences, and ratios.

The caller decides on the sampling unit: problems or seeds, but never the responses to one problem.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from verl_vip.errors import InvalidInputError

_LEVEL = 0.975
_NORMAL = float(norm.ppf(_LEVEL))


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval. Infinite limits mean that the sample is too small for an interval.

    In a format string, a spec such as `.3f`, `+.1f` or `.1%` applies to each number: `12.5% [10.0, 15.0]`. The interval
    is left out if a limit is not finite.
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        value, low, high = (format(number, spec) for number in (self.value, self.low, self.high))
        return f"{value} [{low.rstrip('%')}, {high.rstrip('%')}]" if self.is_bounded else value

    @property
    def is_bounded(self) -> bool:
        """Whether both limits are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def limits(self) -> tuple[float, float]:
        """Both limits of the interval."""
        return self.low, self.high

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate times a positive factor, such as 100 for percentage points."""
        return Estimate(factor * self.value, factor * self.low, factor * self.high)


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return the mean of numbers with its 95% interval by Student's t; the interval of a single number is unbounded.

    Raises:
        InvalidInputError: If there are no numbers.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size:
        raise InvalidInputError("an interval needs at least one value.")
    mean, count = float(numbers.mean()), numbers.size
    if count == 1:
        return Estimate(mean, -math.inf, math.inf)
    half = float(student.ppf(_LEVEL, count - 1)) * float(numbers.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half)


def score_interval(scores: Sequence[float]) -> Estimate:
    """Return the mean of problems' scores in [0, 1] with a 95% interval.

    This is a score interval with Student's quantile. It assumes that scores with mean m have the variance
    `phi m (1 - m)`. The factor phi, at most 1, is the ratio of the scores' variance to that of single 0/1 outcomes.
    With phi = 1 and the normal quantile it is Wilson's interval. Unlike `mean ± t s/sqrt(N)` it stays within [0, 1],
    and it has a positive width if all problems were failed or all were solved; phi is then 1.

    Args:
        scores: One score per problem, such as its share of correct samples.

    Raises:
        InvalidInputError: If there is no score, or one is outside [0, 1].
    """
    values = np.asarray(scores, dtype=np.float64)
    if not values.size or not ((values >= 0) & (values <= 1)).all():
        raise InvalidInputError("an interval needs at least one score, and all between 0 and 1.")
    mean, count = float(values.mean()), values.size
    if count == 1:
        return Estimate(mean, 0.0, 1.0)
    bernoulli = mean * (1 - mean)
    phi = min(float(values.var(ddof=1)) / bernoulli, 1.0) if bernoulli > 0 else 1.0
    return _wilson(mean, phi * float(student.ppf(_LEVEL, count - 1)) ** 2 / count)


def wilson_interval(successes: float, trials: float) -> Estimate:
    """Return a proportion with its 95% score interval (Wilson 1927, JASA 22).

    The interval is conservative for scores that are means of several samples, because they vary less between problems
    than single 0/1 outcomes with the same mean.

    Args:
        successes: Sum of the scores, each in [0, 1].
        trials: Number of independent scores (problems, not samples), positive.
    """
    return _wilson(successes / trials, _NORMAL**2 / trials)


def paired_interval(candidate: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return the mean of the paired differences `candidate - baseline`, with its 95% interval by Student's t.

    Raises:
        InvalidInputError: If there are no pairs, or the lengths differ.
    """
    return mean_interval(_differences(candidate, baseline))


def paired_score_interval(candidate: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return the mean difference of two models' scores in [0, 1] on the same problems, with its 95% interval.

    The interval is that of `paired_interval`. If no score differs, that interval would have zero width, although
    unseen problems may differ. Its half-width is then the share of differing problems at which a sample of this size
    contains none with 2.5% probability, as in the rule of three.

    Raises:
        InvalidInputError: If there are no pairs, or the lengths differ.
    """
    differences = _differences(candidate, baseline)
    if differences and not any(differences):
        missed = 1 - (1 - _LEVEL) ** (1 / len(differences))
        return Estimate(0.0, -missed, missed)
    return mean_interval(differences)


def ratio_interval(top: Sequence[float], bottom: Sequence[float]) -> Estimate:
    """Return the ratio of the geometric means of two independent samples, with its 95% interval.

    The interval is Welch's, on logarithms (Welch 1947, Biometrika 34): the samples may have different sizes and
    spreads. It suits amounts that are spent until a goal, which are skewed and positive. It is unbounded if a sample
    has a single value.

    Args:
        top: The numerator's sample; positive numbers.
        bottom: The denominator's sample; positive numbers.

    Raises:
        InvalidInputError: If a sample is empty, or a number is not positive and finite.
    """
    logs = [np.asarray(values, dtype=np.float64) for values in (top, bottom)]
    if not all(values.size and (values > 0).all() and np.isfinite(values).all() for values in logs):
        raise InvalidInputError("a ratio needs positive, finite numbers on both sides, and at least one on each.")
    logs = [np.log(values) for values in logs]
    difference = float(logs[0].mean() - logs[1].mean())
    if min(values.size for values in logs) == 1:
        return Estimate(math.exp(difference), -math.inf, math.inf)
    parts = np.array([values.var(ddof=1) / values.size for values in logs])
    total = float(parts.sum())
    if total == 0:
        return Estimate(*(math.exp(difference),) * 3)
    freedom = total**2 / float(sum(part**2 / (values.size - 1) for part, values in zip(parts, logs, strict=True)))
    half = float(student.ppf(_LEVEL, freedom)) * math.sqrt(total)
    return Estimate(math.exp(difference), math.exp(difference - half), math.exp(difference + half))


def pooled_ratio_interval(ratios: Sequence[float]) -> Estimate:
    """Return the geometric mean of ratios, one for each base model or task, with a 95% interval over these.

    The spread of the ratios includes the spread of the seeds that each ratio was measured with, so that the interval is
    for another base model or task of the same kind, whatever the number of seeds. It is Student's t on logarithms,
    which is wide for two or three ratios, and unbounded for one.

    Raises:
        InvalidInputError: If there is no ratio, or one is not positive and finite.
    """
    values = np.asarray(ratios, dtype=np.float64)
    if not (values.size and (values > 0).all() and np.isfinite(values).all()):
        raise InvalidInputError("a pooled ratio needs at least one ratio, and all must be positive and finite.")
    logs = mean_interval(np.log(values).tolist())
    if not logs.is_bounded:
        return Estimate(math.exp(logs.value), -math.inf, math.inf)
    return Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high))


def _wilson(rate: float, weight: float) -> Estimate:
    """Return the score interval of a rate; the weight is the squared quantile divided by the number of trials."""
    centre = (rate + weight / 2) / (1 + weight)
    half = math.sqrt(max(rate * (1 - rate), 0.0) * weight + weight**2 / 4) / (1 + weight)
    return Estimate(rate, max(centre - half, 0.0), min(centre + half, 1.0))


def _differences(candidate: Sequence[float], baseline: Sequence[float]) -> list[float]:
    if len(candidate) != len(baseline):
        raise InvalidInputError(f"pairs need as many values on both sides; got {len(candidate)} and {len(baseline)}.")
    return [float(one) - float(other) for one, other in zip(candidate, baseline, strict=True)]
