"""Statistics of one recorded step: groups with signal, the same at equal counts, and the error of the predictions."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verl_vip.records.schema import StepRecord

#: Bounds of the five bands of predicted success probability.
BANDS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

#: Tolerance for the rounding error of a sum of 0/1 rewards.
_ROUNDING = 1e-6
#: Bounds of the strength of a Beta distribution, in rollouts. A predictor without variances has infinite strength.
_WEAKEST, _STRONGEST = 0.1, 1e6
#: Success probabilities with a smaller standard deviation are treated as equal.
_ALIKE = 0.05

FloatArray = NDArray[np.float64]


def bands_of(predicted: FloatArray) -> NDArray[np.int64]:
    """Return the index of the band of `BANDS` for each success probability; 1 belongs to the last band."""
    return np.clip(np.digitize(predicted, BANDS) - 1, 0, len(BANDS) - 2)


def without_signal(record: StepRecord) -> tuple[float, float, float]:
    """Return the shares of sampled prompt groups whose rewards are all 0, all 1, and all equal to a value in between.

    A group with equal rewards has zero advantages and does not contribute to the update. Prompts without rollouts are
    not groups; without any group the shares are NaN. Older records do not say whether rewards varied. Their sums
    identify only the first two kinds.
    """
    observed = np.array(record.observed)
    sampled = observed > 0
    if not sampled.any():
        return math.nan, math.nan, math.nan
    successes = np.array(record.successes)
    wrong, right = successes < _ROUNDING, successes > observed - _ROUNDING
    alike = wrong | right if record.varied is None else ~np.array(record.varied)
    kinds = (alike & wrong, alike & right & ~wrong, alike & ~wrong & ~right)
    none, full, between = (float(np.mean(kind[sampled])) for kind in kinds)
    return none, full, between


def signal_at_equal_counts(record: StepRecord) -> float | None:
    """Estimate how many prompt groups would have had signal if the step's rollouts had been divided equally.

    The estimate is the expectation given the observed rewards. For a prompt with more rollouts than its equal share,
    the share is a random subset of them. For a prompt with fewer, the missing rollouts are drawn from the posterior: a
    Beta distribution with the predicted mean and variance, updated with the observed rollouts.

    Returns:
        The expected number of groups. None if it is unknown: with rewards other than 0 and 1, or after several rounds,
        in which the counts depended on the rewards.
    """
    observed, successes = np.array(record.observed, dtype=np.float64), np.array(record.successes)
    whole = np.round(successes)
    if not len(observed) or record.rounds != 1 or (np.abs(successes - whole) > _ROUNDING).any():
        return None
    if record.varied is not None and (np.array(record.varied) != ((whole > 0) & (whole < observed))).any():
        return None
    # With a remainder, some prompts get one rollout more.
    least, remainder = divmod(sum(record.observed), len(observed))
    share = remainder / len(observed)
    signal = [_chance_of_signal(record, whole, observed, count) for count in (least, least + 1)]
    return float(((1 - share) * signal[0] + share * signal[1]).sum())


def _chance_of_signal(record: StepRecord, won: FloatArray, observed: FloatArray, count: int) -> FloatArray:
    """Return the probability, for each prompt, that `count` rollouts do not all have the same reward."""
    mean, variance = np.array(record.predicted), np.array(record.predicted_variance)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        strength = np.where(variance > 0, mean * (1 - mean) / variance - 1, np.inf)
    strength = np.clip(strength, _WEAKEST, _STRONGEST)
    prior = strength * mean
    all_right = _chance_of_equal(won, observed, prior, strength, count)
    all_wrong = _chance_of_equal(observed - won, observed, strength - prior, strength, count)
    return 1 - all_right - all_wrong if count else np.zeros_like(mean)


def _chance_of_equal(
    hits: FloatArray, observed: FloatArray, prior: FloatArray, strength: FloatArray, count: int
) -> FloatArray:
    """Return the probability that all `count` rollouts are hits; see `signal_at_equal_counts`.

    Args:
        hits: A `B` array, the observed rollouts with the reward in question.
        observed: A `B` array, all observed rollouts.
        prior: A `B` array, the prior strength times the prior probability of a hit.
        strength: A `B` array, the prior strength in rollouts.
        count: The number of rollouts.
    """
    chance = np.ones_like(observed)
    for drawn in range(count):
        from_sample = np.clip(hits - drawn, 0, None) / np.maximum(observed - drawn, 1)
        from_prediction = (prior + drawn) / (strength + drawn)
        # The next rollout is drawn from the sampled ones as long as any are left.
        chance *= np.where(drawn < observed, from_sample, from_prediction)
    return chance


@dataclass(frozen=True)
class PredictionError:
    """The error of predicted success probabilities.

    Attributes:
        rms: Root mean square error over prompts, with the sampling noise of the observed rates subtracted.
        skill: The share of the variance between prompts that the predictions explain. 1 is perfect, and 0 is as good as
            predicting the mean of the batch for every prompt. NaN if the prompts hardly differ.
    """

    rms: float
    skill: float


def prediction_error(record: StepRecord) -> PredictionError | None:
    """Return the error of a step's predictions; None with fewer than two prompts that have two rollouts each.

    For rewards other than 0 and 1 the sampling noise is unknown, because records hold only their sums. No noise is
    subtracted for them.
    """
    observed, successes = np.array(record.observed, dtype=np.float64), np.array(record.successes)
    used = observed > 1
    if used.sum() < 2:
        return None
    rate, trials = np.clip(successes[used] / observed[used], 0.0, 1.0), observed[used]
    is_binary = (np.abs(successes - np.round(successes)) <= _ROUNDING).all()
    noise = float((rate * (1 - rate) / (trials - 1)).mean()) if is_binary else 0.0
    error = float(np.square(rate - np.array(record.predicted)[used]).mean()) - noise
    between = float(rate.var()) - noise
    skill = 1 - error / between if between > _ALIKE**2 else math.nan
    return PredictionError(math.sqrt(max(error, 0.0)), skill)
