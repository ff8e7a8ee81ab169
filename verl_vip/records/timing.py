"""How long a run took, and how much of it this package added.

The place of a record in the file says what it follows; the times only say how long that took. Where the clock was set
back between two records, how long is not known.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from verl_vip.records.records import RunRecords, StepRecord, ValidationRecord

FloatArray = NDArray[np.float64]


def training_seconds(run: RunRecords) -> tuple[FloatArray, FloatArray]:
    """Return the seconds of training up to each of the `T` steps and each of the `V` validations.

    The time between the last kept record of one start and the next start does not count; it was a pause, or
    went into steps that were taken again. Nor does the time between two records where the clock was set back.
    """
    steps: list[float] = []
    validations: dict[int, float] = {}
    total = 0.0
    for record, seconds, _ in _gaps(run):
        total += max(seconds, 0.0)
        if isinstance(record, StepRecord):
            steps.append(total)
        else:
            validations[record.step] = total
    return np.array(steps), np.array([validations[record.step] for record in run.validations])


def total_training_seconds(run: RunRecords) -> float:
    """Return the seconds of training up to the last record, validation included and pauses left out."""
    return max((float(seconds.max(initial=0.0)) for seconds in training_seconds(run)), default=0.0)


def step_seconds(run: RunRecords) -> FloatArray:
    """Return a `T` array, the seconds from the record before each step to the step's own record.

    Validation is left out that way. NaN stands for the first step after a start, which includes loading, and for one
    during which the clock was set back.
    """
    return np.array(
        [
            math.nan if first or seconds < 0 else seconds
            for record, seconds, first in _gaps(run)
            if isinstance(record, StepRecord)
        ],
        dtype=np.float64,
    )


def _gaps(run: RunRecords) -> Iterator[tuple[StepRecord | ValidationRecord, float, bool]]:
    """Yield each record, the seconds since the one before it or the start, and whether no step came before."""
    for start in run.starts:
        before, stepped = start.header.started_at, False
        for record in start.records:
            yield record, record.wall_time - before, not stepped
            before, stepped = record.wall_time, stepped or isinstance(record, StepRecord)


def overhead_seconds(run: RunRecords) -> dict[str, FloatArray]:
    """Return for each timed part of the package a `T` array of seconds a step; absent parts count as zero."""
    parts = list(dict.fromkeys(name for record in run.steps for name in record.seconds))
    return {part: np.array([record.seconds.get(part, 0.0) for record in run.steps]) for part in parts}
