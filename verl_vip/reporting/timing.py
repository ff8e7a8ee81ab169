"""How long a run took, and how much of it this package added."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from verl_vip.reporting.records import RunRecords


def training_seconds(run: RunRecords) -> Callable[[float], float]:
    """Return a clock that maps a record's Unix time to seconds of training since the run's first start.

    The time between the last kept record of one start and the next start does not count; it was a pause, or
    went into steps that were taken again.
    """
    times = _record_times(run)
    starts = sorted(header.started_at for header in run.headers)
    offsets: list[float] = []
    total = 0.0
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        offsets.append(total - start)
        total += max((time - start for time in times if start <= time < end), default=0.0)

    def clock(time: float) -> float:
        return time + offsets[max(int(np.searchsorted(starts, time, side="right")) - 1, 0)]

    return clock


def total_training_seconds(run: RunRecords) -> float:
    """Return the seconds of training up to the last record, validation included and pauses left out."""
    times = _record_times(run)
    return training_seconds(run)(times[-1]) if times else 0.0


def step_seconds(run: RunRecords) -> NDArray[np.float64]:
    """Return a `T` array, the seconds from the record before each step to the step's own record.

    Validation is left out that way. NaN stands for the first step after a start, which includes loading.
    """
    starts = {header.started_at for header in run.headers}
    times = sorted(starts.union(_record_times(run)))
    before = dict(zip(times[1:], times[:-1], strict=True))
    previous = [before.get(record.wall_time, math.nan) for record in run.steps]
    first_step = _first_steps(run)
    return np.array(
        [
            math.nan if record.step in first_step else record.wall_time - time
            for record, time in zip(run.steps, previous, strict=True)
        ],
        dtype=np.float64,
    )


def _first_steps(run: RunRecords) -> set[int]:
    first = set()
    for header in run.headers:
        later = [record.step for record in run.steps if record.wall_time >= header.started_at]
        first.update(later[:1])
    return first


def overhead_seconds(run: RunRecords) -> dict[str, NDArray[np.float64]]:
    """Return for each timed part of the package a `T` array of seconds a step; absent parts count as zero."""
    parts = list(dict.fromkeys(name for record in run.steps for name in record.seconds))
    return {part: np.array([record.seconds.get(part, 0.0) for record in run.steps]) for part in parts}


def _record_times(run: RunRecords) -> list[float]:
    return sorted([step.wall_time for step in run.steps] + [check.wall_time for check in run.validations])
