"""The duration of a run, and the time that this package added to it.

The position of a record in the file determines its predecessor; their times give only the duration between them. If
the clock was set back between two records, that duration is unknown.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from verl_vip.records.records import RunRecords, StepRecord, ValidationRecord

FloatArray = NDArray[np.float64]


def training_seconds(run: RunRecords) -> tuple[FloatArray, FloatArray]:
    """Return the seconds of training up to each of the `T` steps and up to each of the `V` validations.

    The time between the last kept record of one start and the next start does not count, because it was a pause or
    was spent on steps that were repeated. If the clock was set back between two records, the time between them does
    not count either.
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
    """Return the seconds of training up to the last record, with validation and without pauses."""
    return max((float(seconds.max(initial=0.0)) for seconds in training_seconds(run)), default=0.0)


def step_seconds(run: RunRecords) -> FloatArray:
    """Return a `T` array, the seconds from the record before each step to the step's own record.

    This excludes validation. The value is NaN for the first step after a start, which includes loading, and for a step
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
    """Yield each record, the seconds since its predecessor or the start, and whether its start had no step before."""
    for start in run.starts:
        before, stepped = start.header.started_at, False
        for record in start.records:
            yield record, record.wall_time - before, not stepped
            before, stepped = record.wall_time, stepped or isinstance(record, StepRecord)


def overhead_seconds(run: RunRecords) -> dict[str, FloatArray]:
    """Return a `T` array of seconds per step for each timed part of the package; missing parts count as zero."""
    parts = list(dict.fromkeys(name for record in run.steps for name in record.seconds))
    return {part: np.array([record.seconds.get(part, 0.0) for record in run.steps]) for part in parts}
