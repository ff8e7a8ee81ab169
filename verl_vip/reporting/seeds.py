"""Accuracy of several runs that differ only in their seeds, with intervals over seeds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verl_vip.records.records import RunRecords
from verl_vip.records.timing import training_seconds
from verl_vip.statistics.intervals import Estimate, mean_interval, wilson_interval

FloatArray = NDArray[np.float64]

#: With fewer seeds, an interval is too wide to be useful: for two, Student's quantile is 12.7.
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class AccuracyCurve:
    """Validation accuracy of one run or of several seeds, at `V` validations.

    Attributes:
        x: A `V` array, the cost so far, averaged over the runs.
        mean: A `V` array, the accuracy, averaged over the runs.
        low, high: `V` arrays, the limits of the 95% interval; NaN for two runs.
        runs: An `R x V` array, the accuracy of each run.
    """

    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    runs: FloatArray


def accuracy_curves(runs: Sequence[RunRecords], spent: Callable[[RunRecords], FloatArray]) -> list[AccuracyCurve]:
    """Return the accuracy of runs that share everything but the seed, as one curve or one curve per run.

    The runs are averaged over the steps at which all of them were validated. Without such a step, each run has its own
    curve. Runs without any validation are left out.

    Args:
        runs: The runs.
        spent: Returns the cost of a run before each of its validations.
    """
    runs = [run for run in runs if run.validations]
    if len(runs) < 2:
        return [_single(run, spent) for run in runs]
    common = set.intersection(*({record.step for record in run.validations} for run in runs))
    if not common:
        return [_single(run, spent) for run in runs]
    kept = [np.array([record.step in common for record in run.validations]) for run in runs]
    x = np.mean([spent(run)[mask] for run, mask in zip(runs, kept, strict=True)], axis=0)
    values = np.array([_accuracies(run)[mask] for run, mask in zip(runs, kept, strict=True)])
    bounds = np.array([seed_interval(column).limits for column in values.T])
    return [AccuracyCurve(x, values.mean(axis=0), bounds[:, 0], bounds[:, 1], values)]


def seed_interval(values: Sequence[float] | FloatArray) -> Estimate:
    """Return the mean accuracy over seeds with its 95% interval within [0, 1]; limits are NaN for fewer than three."""
    estimate = mean_interval([float(value) for value in values])
    if len(values) < FEWEST_SEEDS:
        return Estimate(estimate.value, math.nan, math.nan)
    return Estimate(estimate.value, max(estimate.low, 0.0), min(estimate.high, 1.0))


def spent_rollouts(run: RunRecords) -> FloatArray:
    """Return a `V` array, the training rollouts before each validation."""
    return np.array([record.rollouts_total for record in run.validations], dtype=np.float64)


def spent_tokens(run: RunRecords) -> FloatArray:
    """Return a `V` array, the response tokens of all steps before each validation; NaN where a step has no count."""
    steps = np.array([record.step for record in run.steps], dtype=np.int64)
    sums = [math.nan if record.tokens is None else float(sum(record.tokens)) for record in run.steps]
    total = np.concatenate([[0.0], np.cumsum(sums)])
    return total[np.searchsorted(steps, [record.step for record in run.validations], side="right")]


def spent_steps(run: RunRecords) -> FloatArray:
    """Return a `V` array, the training steps before each validation."""
    return np.array([record.step for record in run.validations], dtype=np.float64)


def spent_seconds(run: RunRecords) -> FloatArray:
    """Return a `V` array, the seconds of training at each validation, without pauses."""
    _, validations = training_seconds(run)
    return validations


def _single(run: RunRecords, spent: Callable[[RunRecords], FloatArray]) -> AccuracyCurve:
    bounds = np.array(
        [wilson_interval(sum(record.correct.values()), record.num_problems).limits for record in run.validations]
    )
    accuracy = _accuracies(run)
    return AccuracyCurve(spent(run), accuracy, bounds[:, 0], bounds[:, 1], accuracy[None])


def _accuracies(run: RunRecords) -> FloatArray:
    return np.array([record.accuracy for record in run.validations])
