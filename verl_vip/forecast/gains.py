"""What counts and choices by prediction would do with prompts whose success probabilities are distributed as estimated.

The policy stands still here. A predictor knows of each prompt what `visits` earlier groups told: the posterior
Beta(1/2 + successes, 1/2 + failures) of the prompt alone. A predictor that also learns from other prompts knows more,
and one whose prompts drift knows less.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from verl_vip.allocation import allocate
from verl_vip.config import VipConfig
from verl_vip.forecast.pool import TEACHES
from verl_vip.statistics.intervals import Estimate
from verl_vip.statistics.success_distribution import GRID, SuccessDistribution

FloatArray = NDArray[np.float64]

#: Prompts that stand for the pool, and how often their earlier groups are drawn.
_PROMPTS, _DRAWS = 2048, 4
#: A choice serves this share of its candidates.
SERVED = 0.25
_PRIOR = 0.5
#: With less variance of a reward than this on average, there is nothing to gain anywhere.
_NOTHING = 1e-6
_SIGNAL: FloatArray = GRID * (1 - GRID)
#: Linear steps towards an extreme gain, and the earlier groups for which they are made, besides a known p.
_STEPS, _USUAL_VISITS = 2, 2


@dataclass(frozen=True)
class Gain:
    """What a state of knowledge is worth.

    The limits are the least and the largest value found among the distributions that the counts leave possible: a 95 %
    profile likelihood interval, as that of the share of prompts that can teach. Since gains are not linear in the
    distribution, the search may stop a little short of the extremes.

    Attributes:
        visits: Earlier groups of each prompt; None if its success probability is known.
        variance_left: RLOO's gradient variance with the allocator's counts, relative to that of equal counts.
        top_signal: The mean p(1-p) of the quarter of the prompts that promise most, relative to all prompts.
    """

    visits: int | None
    variance_left: Estimate
    top_signal: Estimate


@dataclass(frozen=True)
class Group:
    """The rollouts of a prompt: on average, at least, and at most; see `vip.lower` and `vip.upper`."""

    rollouts: int
    lower: int = VipConfig.lower
    upper: int = VipConfig.upper


def estimate_gains(pool: SuccessDistribution, group: Group, visits: Sequence[int | None]) -> tuple[Gain, ...]:
    """Return the gains of each state of knowledge.

    Args:
        pool: The distribution of success probabilities.
        group: The rollouts of a prompt, at least 2 on average.
        visits: Numbers of earlier groups of each prompt; None for known probabilities.
    """
    share = pool.share(*TEACHES)
    pools = [pool, *(pool.with_share(*TEACHES, limit) for limit in share.limits), *_extremes(pool, group, visits)]
    return tuple(_gain(pools, group, count) for count in visits)


def _extremes(pool: SuccessDistribution, group: Group, visits: Sequence[int | None]) -> list[SuccessDistribution]:
    """Return the distributions that make the gains extreme among those that the counts leave possible.

    Gains are not linear in the distribution, so that each step makes a linear approximation of one extreme.
    """
    found = []
    for known in (count for count in (_USUAL_VISITS, None) if count in visits):
        cells, expected = _knowledge(known, group)
        for slope in (_slope_of_variance, _slope_of_signal):
            for sign in (1.0, -1.0):
                now = pool
                for _ in range(_STEPS):
                    if now.mean_of(_SIGNAL) < _NOTHING:
                        break
                    found.append(now := pool.with_largest(sign * slope(now, cells, expected)))
    return found


def _knowledge(visits: int | None, group: Group) -> tuple[FloatArray, FloatArray]:
    """Return the probability of each number of earlier successes at each p of `GRID`, and p(1-p) as expected from it.

    If p is known, p itself stands in for the number.
    """
    if visits is None:
        return np.eye(len(GRID)), _SIGNAL
    total = visits * group.rollouts
    right = np.arange(total + 1)
    cells: FloatArray = binom.pmf(right[:, None], total, GRID)
    return cells, _expected(right, total)


def _expected(right: NDArray[np.int64], total: int) -> FloatArray:
    """Return the mean of p(1-p) after so many successes in `total` rollouts."""
    won, all_ = right + _PRIOR, total + 2 * _PRIOR
    expected: FloatArray = won * (all_ - won) / (all_ * (all_ + 1))
    return expected


def _slope_of_variance(pool: SuccessDistribution, cells: FloatArray, expected: FloatArray) -> FloatArray:
    """Return the slope of the log of E[s / e^(1/2)] E[e^(1/2)] / E[s], which counts without bounds leave.

    Here s = p(1-p), and e is the expectation of s.
    """
    root = np.sqrt(np.maximum(expected, _NOTHING))
    over, under = _SIGNAL * (cells.T @ (1 / root)), cells.T @ root
    slope: FloatArray = over / pool.mean_of(over) + under / pool.mean_of(under) - _SIGNAL / pool.mean_of(_SIGNAL)
    return slope


def _slope_of_signal(pool: SuccessDistribution, cells: FloatArray, expected: FloatArray) -> FloatArray:
    """Return the slope of the log of the best quarter's mean of s over that of all prompts."""
    order = np.argsort(-expected, kind="stable")
    cells = cells[order]
    mass = cells @ pool.weight
    chosen = np.clip((SERVED - np.cumsum(mass) + mass) / np.maximum(mass, 1e-12), 0, 1)
    last = int(np.searchsorted(np.cumsum(mass), SERVED).clip(0, len(mass) - 1))
    # More prompts in the best cells displace some of the last cell that is chosen.
    worth = pool.mean_of(_SIGNAL * cells[last]) / max(float(mass[last]), 1e-12)
    best = chosen @ cells
    slope: FloatArray = (_SIGNAL - worth) * best / pool.mean_of(_SIGNAL * best) - _SIGNAL / pool.mean_of(_SIGNAL)
    return slope


def _gain(pools: Sequence[SuccessDistribution], group: Group, visits: int | None) -> Gain:
    each = np.array([_simulate(pool.quantiles(_PROMPTS), group, visits) for pool in pools])
    left, signal = (Estimate(float(own[0]), float(own.min()), float(own.max())) for own in each.T)
    return Gain(visits, left, signal)


def _simulate(probability: FloatArray, group: Group, visits: int | None) -> tuple[float, float]:
    """Return the variance left and the signal of the best quarter, over some draws of the earlier groups."""
    signal = probability * (1 - probability)
    if signal.mean() < _NOTHING or visits == 0:
        return 1.0, 1.0
    generator = np.random.default_rng(0)
    draws = [_draw(probability, signal, group, visits, generator) for _ in range(1 if visits is None else _DRAWS)]
    left, top = np.mean(draws, axis=0)
    return float(left), float(top)


def _draw(
    probability: FloatArray, signal: FloatArray, group: Group, visits: int | None, generator: np.random.Generator
) -> tuple[float, float]:
    size, n = len(probability), group.rollouts
    expected = signal
    if visits is not None:
        expected = _expected(generator.binomial(visits * n, probability), visits * n)
    lower, upper = min(group.lower, n), max(group.upper, n)
    counts = allocate(None, n * size, lower=lower, upper=upper, weight=expected).numpy()
    left = float((signal / (counts - 1)).sum() / (signal / (n - 1)).sum())
    ties = generator.permutation(size)
    best = ties[np.argsort(-expected[ties], kind="stable")][: int(SERVED * size)]
    return left, float(signal[best].mean() / signal.mean())
