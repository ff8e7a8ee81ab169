"""The records of one run in memory, grouped by the starts of the run."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verl_vip.records.schema import RunHeader, StepRecord, ValidationRecord


@dataclass(frozen=True)
class PromptRows:
    """The prompts of all steps as one table with `N` rows, where N is the sum of the batch sizes.

    The columns have the meaning of the fields of `StepRecord`.

    Attributes:
        step: An `N` int array, the training step.
        ids: An `N` string array.
        labels: An `N` string array.
        requested: An `N` int array.
        observed: An `N` int array.
        predicted: An `N` float array.
        predicted_variance: An `N` float array.
        successes: An `N` float array.
    """

    step: NDArray[np.int64]
    ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    requested: NDArray[np.int64]
    observed: NDArray[np.int64]
    predicted: NDArray[np.float64]
    predicted_variance: NDArray[np.float64]
    successes: NDArray[np.float64]


@dataclass(frozen=True)
class Start:
    """One start of a run.

    Attributes:
        header: The header of the start.
        records: Its step and validation records in the order written. Steps ascend, and each step has at most one
            validation.
    """

    header: RunHeader
    records: tuple[StepRecord | ValidationRecord, ...]


@dataclass(frozen=True)
class RunRecords:
    """All records of one run.

    The position of a record in the file determines its start. Its time does not, because a clock may be set back.

    Attributes:
        path: The file that the records were read from.
        starts: The starts in the order written, at least one.
    """

    path: Path
    starts: tuple[Start, ...]

    @cached_property
    def headers(self) -> tuple[RunHeader, ...]:
        """The header of each start, in the order written."""
        return tuple(start.header for start in self.starts)

    @cached_property
    def steps(self) -> tuple[StepRecord, ...]:
        """The training steps, in ascending order."""
        return tuple(record for start in self.starts for record in start.records if isinstance(record, StepRecord))

    @cached_property
    def step_headers(self) -> tuple[RunHeader, ...]:
        """For each of `steps`, the header of its start."""
        return tuple(
            start.header for start in self.starts for record in start.records if isinstance(record, StepRecord)
        )

    @cached_property
    def validations(self) -> tuple[ValidationRecord, ...]:
        """The validations in ascending order of steps, at most one per step."""
        found = (record for start in self.starts for record in start.records if isinstance(record, ValidationRecord))
        return tuple(sorted(found, key=lambda record: record.step))

    @property
    def rollouts_total(self) -> int:
        """Rollouts spent up to the last recorded step; 0 before the first."""
        return self.steps[-1].rollouts_total if self.steps else 0

    @cached_property
    def prompts(self) -> PromptRows:
        """The prompts of all steps as one table."""
        return PromptRows(
            step=np.repeat(
                np.array([record.step for record in self.steps], dtype=np.int64),
                np.array([len(record.ids) for record in self.steps], dtype=np.int64),
            ),
            ids=np.array(self._flat("ids"), dtype=np.str_),
            labels=np.array(self._flat("labels"), dtype=np.str_),
            requested=np.array(self._flat("requested"), dtype=np.int64),
            observed=np.array(self._flat("observed"), dtype=np.int64),
            predicted=np.array(self._flat("predicted"), dtype=np.float64),
            predicted_variance=np.array(self._flat("predicted_variance"), dtype=np.float64),
            successes=np.array(self._flat("successes"), dtype=np.float64),
        )

    def _flat(self, name: str) -> list[Any]:
        return [value for record in self.steps for value in getattr(record, name)]
