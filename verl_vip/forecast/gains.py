"""What counts and choices by prediction would do with prompts whose success probabilities are distributed as estimated.

The policy stands still here. A predictor knows of each prompt what `visits` earlier groups told: the posterior
Beta(1/2 + successes, 1/2 + failures) of the prompt alone. A predictor that also learns from other prompts knows more,
and one whose prompts drift knows less.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verl_vip.allocation import allocate
from verl_vip.config import VipConfig
from verl_vip.forecast.pool import TEACHES
from verl_vip.statistics.intervals import Estimate
from verl_vip.statistics.success_distribution import SuccessDistribution

FloatArray = NDArray[np.float64]

#: Prompts that stand for the pool, and how often their earlier groups are drawn.
_PROMPTS, _DRAWS = 2048, 4
#: A choice serves this share of its candidates.
SERVED = 0.25
_PRIOR = 0.5
#: With less variance of a reward than this on average, there is nothing to gain anywhere.
_NOTHING = 1e-6


@dataclass(frozen=True)
class Gain:
    """What a state of knowledge is worth. The limits are those of the distributions that the counts leave possible.

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
    pools = [pool, *(pool.with_share(*TEACHES, limit) for limit in share.limits)]
    return tuple(_gain(pools, group, count) for count in visits)


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
        right = generator.binomial(visits * n, probability) + _PRIOR
        total = visits * n + 2 * _PRIOR
        expected = right * (total - right) / (total * (total + 1))
    lower, upper = min(group.lower, n), max(group.upper, n)
    counts = allocate(None, n * size, lower=lower, upper=upper, weight=expected).numpy()
    left = float((signal / (counts - 1)).sum() / (signal / (n - 1)).sum())
    ties = generator.permutation(size)
    best = ties[np.argsort(-expected[ties], kind="stable")][: int(SERVED * size)]
    return left, float(signal[best].mean() / signal.mean())
