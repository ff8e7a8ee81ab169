"""Whether the labels of prompts, such as their data sources, say by themselves which prompts can teach."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verl_vip.forecast.gains import SERVED
from verl_vip.statistics.intervals import Estimate

FloatArray = NDArray[np.float64]

_RESAMPLES = 400
#: A label with fewer prompts is counted to the others that are as small.
LEAST_PROMPTS = 20


@dataclass(frozen=True)
class LabelRow:
    """One label: its name, its prompts, their mean success rate, and the mean of their p(1-p)."""

    label: str
    prompts: int
    success: float
    signal: float


@dataclass(frozen=True)
class LabelEffect:
    """How much labels tell.

    Attributes:
        rows: The labels, the largest first.
        share: The share of the variance of p over prompts that lies between labels, with a 95 % bootstrap interval over
            prompts.
        even_signal: The mean p(1-p) of a draw that is even over the labels, relative to all prompts.
        top_signal: The mean p(1-p) of a quarter of the prompts, chosen by their label's mean alone, relative to all.
    """

    rows: tuple[LabelRow, ...]
    share: Estimate
    even_signal: float
    top_signal: float


def label_effect(labels: tuple[str, ...], successes: FloatArray, trials: NDArray[np.int64]) -> LabelEffect | None:
    """Return the effect of the labels of `P` prompts; None with fewer than two labels of enough prompts.

    Args:
        labels: `P` labels.
        successes: A `P` array, the successes of each prompt.
        trials: A `P` array, the rollouts of each prompt. Those with one are left out: they do not show how far rates
            vary by chance.
    """
    used = trials > 1
    names, member = np.unique(np.array(labels, dtype=object)[used].astype(str), return_inverse=True)
    if not len(names):
        return None
    sizes = np.bincount(member)
    small = sizes < LEAST_PROMPTS
    if small.any() and not small.all():
        kept = np.flatnonzero(~small)
        place = np.full(len(names), len(kept))
        place[kept] = np.arange(len(kept))
        names, member = np.append(names[kept], "(small ones)"), place[member]
        sizes = np.bincount(member)
    if len(names) < 2 or small.all():
        return None
    rate, n = successes[used] / trials[used], trials[used]
    signal = rate * (1 - rate) * n / (n - 1)
    value = _between(member, len(names), rate, signal / n)
    generator = np.random.default_rng(0)
    size = len(rate)
    drawn = [
        _between(member[rows], len(names), rate[rows], (signal / n)[rows])
        for rows in (generator.integers(size, size=size) for _ in range(_RESAMPLES))
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    means = [np.bincount(member, values, len(names)) / sizes for values in (rate, signal)]
    rows = [
        LabelRow(str(name), int(count), float(success), float(strength))
        for name, count, success, strength in zip(names, sizes, *means, strict=True)
    ]
    rows.sort(key=lambda row: -row.prompts)
    share = Estimate(value, min(float(low), value), max(float(high), value))
    mean = float(signal.mean())
    if mean <= 0:
        return LabelEffect(tuple(rows), share, 1.0, 1.0)
    even = float(np.mean([row.signal for row in rows]))
    return LabelEffect(tuple(rows), share, even / mean, _best_quarter(rows) / mean)


def _between(member: NDArray[np.int64], groups: int, rate: FloatArray, noise: FloatArray) -> float:
    """Return the share of the variance of p between groups; the noise of rates is subtracted from both variances."""
    sizes = np.maximum(np.bincount(member, minlength=groups), 1)
    means = np.bincount(member, rate, groups) / sizes
    within = np.bincount(member, np.square(rate - means[member]), groups) / np.maximum(sizes - 1, 1)
    size = len(rate)
    total = float(rate.var()) - float(noise.mean())
    # A mean of several prompts varies by chance, which looks like a difference between groups.
    chance = float((within * (1 - sizes / size)).sum() / size)
    between = float((sizes * np.square(means - rate.mean())).sum() / size) - chance
    return float(np.clip(between / total, 0, 1)) if total > 0 else 0.0


def _best_quarter(rows: list[LabelRow]) -> float:
    """Return the mean p(1-p) of the quarter of the prompts whose labels have the most."""
    wanted = SERVED * sum(row.prompts for row in rows)
    left, total = wanted, 0.0
    for row in sorted(rows, key=lambda row: -row.signal):
        taken = min(left, row.prompts)
        total, left = total + taken * row.signal, left - taken
    return total / wanted
