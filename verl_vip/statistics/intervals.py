"""95% intervals of means over problems: the problems are the sample, not the responses to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from verl_vip.errors import InvalidInputError

_LEVEL = 0.975


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its 95% interval."""

    value: float
    low: float
    high: float


def score_interval(scores: Sequence[float]) -> Estimate:
    """Return the mean of problems' scores in [0, 1] with a 95% interval.

    A score interval with Student's quantile, in which a mean m has the variance `phi m (1 - m)`; phi, at most 1, is
    how much of the variance of single 0/1 outcomes the scores show. With phi = 1 and the normal quantile it is
    Wilson's. Unlike `mean ± t s/sqrt(N)` it stays within [0, 1] and has a width when all problems were failed, or
    all solved; then phi is taken to be 1.

    Args:
        scores: One score a problem, such as its share of right samples.

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
    spread = min(float(values.var(ddof=1)) / bernoulli, 1.0) if bernoulli > 0 else 1.0
    weight = spread * float(student.ppf(_LEVEL, count - 1)) ** 2 / count
    centre = (mean + weight / 2) / (1 + weight)
    half = math.sqrt(bernoulli * weight + weight**2 / 4) / (1 + weight)
    return Estimate(mean, max(centre - half, 0.0), min(centre + half, 1.0))


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return the mean of any numbers with its 95% interval by Student's t; infinitely wide for a single one.

    Raises:
        InvalidInputError: If there is none.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size:
        raise InvalidInputError("an interval needs at least one value.")
    mean, count = float(numbers.mean()), numbers.size
    if count == 1:
        return Estimate(mean, -math.inf, math.inf)
    half = float(student.ppf(_LEVEL, count - 1)) * float(numbers.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half)
