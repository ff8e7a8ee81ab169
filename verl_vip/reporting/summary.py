"""The headline figures of a run for a report, computed from its records."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verl_vip.records.records import RunRecords, ValidationRecord
from verl_vip.records.step_statistics import without_signal
from verl_vip.records.timing import overhead_seconds, step_seconds, total_training_seconds

FloatArray = NDArray[np.float64]


def broken_budgets(run: RunRecords) -> list[int]:
    """Return the steps whose observed counts differ from the requested ones, or that did not keep the budget."""
    return [
        record.step
        for record, header in zip(run.steps, run.step_headers, strict=True)
        if record.requested != record.observed or not (record.keeps_budget and record.budget == header.budget)
    ]


@dataclass(frozen=True)
class FamilyRow:
    """A row of the table of labels; unrecorded values are None.

    Attributes:
        label: The data source or task family.
        problems: Number of validation problems.
        first_accuracy: Accuracy at the first validation.
        last_accuracy: Accuracy at the last validation.
        groups: Number of prompt groups in training.
        rollouts_per_prompt: Mean count of these groups.
        mean_predicted: Mean over these groups of E[p] before sampling.
        mean_observed: Mean success rate over these groups, without those that were not sampled.
    """

    label: str
    problems: int | None
    first_accuracy: float | None
    last_accuracy: float | None
    groups: int
    rollouts_per_prompt: float | None
    mean_predicted: float | None
    mean_observed: float | None


def family_rows(run: RunRecords) -> list[FamilyRow]:
    """Return one row for each label of training or validation, sorted by name."""
    rows = run.prompts
    sampled = rows.observed > 0
    rates = rows.successes / np.maximum(rows.observed, 1)
    first, last = (run.validations[0], run.validations[-1]) if run.validations else (None, None)
    labels = set(rows.labels.tolist()) | set(last.count if last else ()) | set(first.count if first else ())
    table = []
    for label in sorted(labels):
        mine = rows.labels == label
        trained = bool(mine.any())
        table.append(
            FamilyRow(
                label=label,
                problems=last.count.get(label) if last else None,
                first_accuracy=_label_accuracy(first, label),
                last_accuracy=_label_accuracy(last, label),
                groups=int(mine.sum()),
                rollouts_per_prompt=float(rows.observed[mine].mean()) if trained else None,
                mean_predicted=float(rows.predicted[mine].mean()) if trained else None,
                mean_observed=float(rates[mine & sampled].mean()) if (mine & sampled).any() else None,
            )
        )
    return table


def _label_accuracy(record: ValidationRecord | None, label: str) -> float | None:
    if record is None or label not in record.count:
        return None
    return record.correct[label] / record.count[label]


@dataclass(frozen=True)
class Summary:
    """The headline figures of a run.

    Attributes:
        strategy: Name of the strategy of the last step; empty before the first step.
        steps: Number of steps.
        rollouts: Number of rollouts.
        first, last: The first and last validation; None without any.
        broken: The steps that did not keep the budget.
        asked_exactly: Whether every step requested exactly its budget, whatever was returned.
        lost: Number of requested rollouts that did not return a reward.
        all_wrong, all_right, all_alike: Shares of prompt groups whose rewards are all 0, all 1, and all equal to a
            value in between; NaN without groups.
        overhead: Median over steps of the seconds that the package adds; NaN without steps.
        overhead_share: The overhead divided by the median duration of a step; NaN if no duration is known.
        seconds: Seconds of training, including validation.
    """

    strategy: str
    steps: int
    rollouts: int
    first: ValidationRecord | None
    last: ValidationRecord | None
    broken: list[int]
    asked_exactly: bool
    lost: int
    all_wrong: float
    all_right: float
    all_alike: float
    overhead: float
    overhead_share: float
    seconds: float

    @property
    def no_signal(self) -> float:
        """The share of prompt groups without signal."""
        return self.all_wrong + self.all_right + self.all_alike


def summarize(run: RunRecords) -> Summary:
    """Return the headline figures of a run."""
    shares = [without_signal(record) for record in run.steps]
    groups = np.array([sum(count > 0 for count in record.observed) for record in run.steps], dtype=np.float64)
    wrong, right, alike = (_weighted([kinds[kind] for kinds in shares], groups) for kind in range(3))
    overhead = _median(sum(overhead_seconds(run).values(), start=np.zeros(len(run.steps))))
    return Summary(
        strategy=run.steps[-1].strategy if run.steps else "",
        steps=len(run.steps),
        rollouts=run.rollouts_total,
        first=run.validations[0] if run.validations else None,
        last=run.validations[-1] if run.validations else None,
        broken=broken_budgets(run),
        asked_exactly=all(
            sum(record.requested) == record.budget == header.budget
            for record, header in zip(run.steps, run.step_headers, strict=True)
        ),
        lost=sum(max(sum(record.requested) - sum(record.observed), 0) for record in run.steps),
        all_wrong=wrong,
        all_right=right,
        all_alike=alike,
        overhead=overhead,
        overhead_share=overhead / _median(step_seconds(run)),
        seconds=total_training_seconds(run),
    )


def _weighted(values: list[float], weights: FloatArray) -> float:
    used = weights > 0
    return float(np.average(np.array(values)[used], weights=weights[used])) if used.any() else math.nan


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan
