"""The records that a run writes down; `verl_vip.records.records` writes and reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from verl_vip.checks import (
    require_count,
    require_flag,
    require_mapping,
    require_number,
    require_probability,
    require_seconds,
    require_text,
    require_time,
)
from verl_vip.errors import InvalidInputError

#: Version of the records' layout. 1 had neither `RunHeader.schema` nor `StepRecord.tokens`; 2 had neither
#: `RunHeader.config` nor `StepRecord.varied`.
SCHEMA_VERSION = 3


@dataclass(frozen=True)
class RunHeader:
    """One start of a run.

    Attributes:
        started_at: Unix time of the start, in seconds.
        settings: The settings that matter, nested by group. Values that JSON lacks are kept as their text.
        versions: Version of each package that can move a result.
        prompts_per_step: Prompts in one training batch, B.
        budget: Rollouts one training step may spend, C.
        resumed_from: Step of the checkpoint this start continues; None for a fresh run.
        schema: Version of the layout of this record and those up to the next header.
        config: All of verl's settings that move a result, by dotted name; None where they were not noted.
    """

    kind: ClassVar[str] = "run"

    started_at: float
    settings: dict[str, Any]
    versions: dict[str, str]
    prompts_per_step: int
    budget: int
    resumed_from: int | None = None
    schema: int = 1
    config: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        require_count("schema", self.schema)
        if self.schema > SCHEMA_VERSION:
            raise InvalidInputError(
                f"the records have layout {self.schema}, and this verl-vip knows layouts up to {SCHEMA_VERSION}; "
                "read them with the version that wrote them."
            )
        require_time("started_at", self.started_at)
        require_count("prompts_per_step", self.prompts_per_step)
        require_count("budget", self.budget)
        if self.resumed_from is not None:
            require_count("resumed_from", self.resumed_from)
        require_mapping("settings", self.settings)
        require_mapping("versions", self.versions)
        if self.config is not None:
            require_mapping("config", self.config)


@dataclass(frozen=True)
class StepRecord:
    """One training step. Every list has one entry a prompt of the batch, in one order.

    Attributes:
        step: The training step, counted from 1.
        wall_time: Unix time at which the step's rewards had been observed, in seconds.
        strategy: Name of the strategy that chose the counts.
        budget: Rollouts the step was allowed.
        ids: `B` content hashes.
        labels: `B` data sources or task families.
        requested: `B` rollouts asked for before sampling.
        observed: `B` rollouts that came back with a finite reward, padding excluded.
        predicted: `B` values of E[p] before sampling, in [0, 1].
        predicted_variance: `B` values of Var[p] before sampling.
        successes: `B` sums of rewards in [0, 1], each at most `observed`.
        rollouts_total: Rollouts of the run up to and including this step, earlier starts included.
        seconds: Time spent by each part of the package in this step (embed, predict, allocate, collect, observe).
        tokens: `B` response tokens of all rollouts of the prompt that came back; None where they were not noted.
        kept: `B` rollouts that the update used; None where it used all that came back.
        rounds: Rounds of sampling.
        spends_all: Whether the strategy promises to request the whole budget; others may leave some of it.
        varied: `B` flags, whether the rewards that came back of a prompt differ; None where it was not noted.
    """

    kind: ClassVar[str] = "step"

    step: int
    wall_time: float
    strategy: str
    budget: int
    ids: list[str]
    labels: list[str]
    requested: list[int]
    observed: list[int]
    predicted: list[float]
    predicted_variance: list[float]
    successes: list[float]
    rollouts_total: int
    seconds: dict[str, float]
    tokens: list[int] | None = None
    kept: list[int] | None = None
    rounds: int = 1
    spends_all: bool = True
    varied: list[bool] | None = None

    def __post_init__(self) -> None:
        for name in ("step", "budget", "rollouts_total", "rounds"):
            require_count(name, getattr(self, name))
        require_time("wall_time", self.wall_time)
        require_text("strategy", self.strategy)
        require_flag("spends_all", self.spends_all)
        require_mapping("seconds", self.seconds)
        for name, value in self.seconds.items():
            require_seconds(f"seconds[{name!r}]", value)
        checks = {
            "ids": require_text,
            "labels": require_text,
            "requested": require_count,
            "observed": require_count,
            "predicted": require_probability,
            "predicted_variance": require_number,
            "successes": require_number,
        }
        for name, check in checks.items():
            self._require_column(name, check)
        for name in ("tokens", "kept"):
            if getattr(self, name) is not None:
                self._require_column(name, require_count)
        if self.varied is not None:
            self._require_column("varied", require_flag)
        for prompt, total, count in zip(self.ids, self.successes, self.observed, strict=True):
            # Rewards are summed in floating point, so a full house may miss its count by a rounding error.
            if not -1e-6 <= total <= count + 1e-6:
                raise InvalidInputError(
                    f"successes must lie between 0 and the observed count; prompt {prompt!r} has {total} of {count}."
                )

    @property
    def trained(self) -> list[int]:
        """`B` rollouts that the update used."""
        return self.observed if self.kept is None else self.kept

    @property
    def keeps_budget(self) -> bool:
        """Whether what was requested is what the strategy may and has to request."""
        asked = sum(self.requested)
        return asked == self.budget if self.spends_all else asked <= self.budget

    def _require_column(self, name: str, check: Callable[[str, Any], None]) -> None:
        values = getattr(self, name)
        if not isinstance(self.ids, list):
            raise InvalidInputError(f"ids must be a list; got {type(self.ids).__name__}.")
        if not isinstance(values, list) or len(values) != len(self.ids):
            raise InvalidInputError(
                f"{name} must be a list with one entry for each of the {len(self.ids)} prompts "
                f"(use .tolist() on arrays); got {type(values).__name__}"
                + (f" of length {len(values)}." if isinstance(values, list) else ".")
            )
        for value in values:
            check(name, value)


@dataclass(frozen=True)
class ValidationRecord:
    """One pass over the validation problems, or one batch of it; `read_run` pools the batches of a pass.

    Attributes:
        step: Training steps taken before it; 0 before training.
        wall_time: Unix time at its end, in seconds.
        rollouts_total: Training rollouts spent before it.
        correct: For each label, the sum over its problems of the mean score in [0, 1].
        count: For each label, the number of problems (not of samples).
    """

    kind: ClassVar[str] = "validation"

    step: int
    wall_time: float
    rollouts_total: int
    correct: dict[str, float]
    count: dict[str, int]

    def __post_init__(self) -> None:
        require_count("step", self.step)
        require_time("wall_time", self.wall_time)
        require_count("rollouts_total", self.rollouts_total)
        require_mapping("correct", self.correct)
        require_mapping("count", self.count)
        if self.correct.keys() != self.count.keys() or not self.count:
            raise InvalidInputError("correct and count must name the same labels, and at least one.")
        for label, count in self.count.items():
            require_count(f"count[{label!r}]", count)
            require_number(f"correct[{label!r}]", self.correct[label])
            if count == 0 or not -1e-6 <= self.correct[label] <= count + 1e-6:
                raise InvalidInputError(
                    f"correct must lie between 0 and a positive count; label {label!r} has "
                    f"{self.correct[label]} of {count}."
                )

    @property
    def num_problems(self) -> int:
        """Problems of all labels together."""
        return sum(self.count.values())

    @property
    def accuracy(self) -> float:
        """Mean score over all problems, in [0, 1]."""
        return sum(self.correct.values()) / self.num_problems


Record = RunHeader | StepRecord | ValidationRecord
