"""Which share of a run's prompts can teach, for its report."""

from dataclasses import dataclass

import numpy as np

from verl_vip.forecast.advice import is_filtered
from verl_vip.forecast.gains import Group, estimate_gains
from verl_vip.forecast.pool import TEACHES, Window, estimate_pool, recent, teaching_windows
from verl_vip.records.outcome_sources import outcomes_of
from verl_vip.records.records import RunRecords
from verl_vip.statistics.intervals import Estimate

_WINDOWS = 8


@dataclass(frozen=True)
class TeachingPool:
    """The prompts that a run served.

    Attributes:
        teaches: The share that can teach, at the latest visit to each prompt.
        is_filtered: Whether even known success probabilities would gain next to nothing.
    """

    teaches: Estimate
    is_filtered: bool


def teaching_pool(run: RunRecords) -> TeachingPool | None:
    """Return which share of the prompts can teach; None if most prompts have a single rollout.

    Args:
        run: A run with at least one rollout.
    """
    outcomes = outcomes_of(run).outcomes
    if np.median(recent(outcomes).totals()[1]) < 2:
        return None
    pool = estimate_pool(outcomes)
    teaches = pool.share(*TEACHES)
    (known,) = estimate_gains(pool, Group(max(2, round(float(outcomes.trials.mean())))), [None])
    return TeachingPool(teaches, is_filtered(teaches, known))


def run_windows(run: RunRecords) -> tuple[Window, ...]:
    """Return the share of prompts that can teach over training; empty if the run is too short to show it.

    Args:
        run: A run with at least one rollout.
    """
    return tuple(teaching_windows(outcomes_of(run).outcomes, _WINDOWS))
