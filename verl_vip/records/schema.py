"""The records of a run; `verl_vip.records.records` writes and reads them."""

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

#: Version of the record format. Version 1 had neither `RunHeader.schema` nor `StepRecord.tokens`, and version 2 had
#: neither `RunHeader.config` nor `StepRecord.varied`.
SCHEMA_VERSION = 3


@dataclass(frozen=True)
class RunHeader:
    """One start of a run.

    Attributes:
        started_at: Unix time of the start, in seconds.
        settings: The important settings, nested by group. Values that JSON cannot express are stored as text.
        versions: The version of each package that can affect a result.
        prompts_per_step: Number of prompts in one training batch, B.
        budget: Number of rollouts that one training step may use, C.
        resumed_from: The step of the checkpoint that this start resumes from; None for a fresh run.
        schema: Version of the format of this record and of those up to the next header.
        config: All of verl's settings that affect a result, by dotted name; None if they were not recorded.
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
    """One training step. Every list has one entry for each prompt of the batch, in the same order.

    Attributes:
        step: The training step, counted from 1.
        wall_time: Unix time after the step's rewards were observed, in seconds.
        strategy: Name of the strategy that chose the counts.
        budget: Number of rollouts that the step was allowed.
        ids: `B` content hashes.
        labels: `B` data sources or task families.
        requested: `B` numbers of rollouts requested before sampling.
        observed: `B` numbers of rollouts that returned a finite reward, without padding.
        predicted: `B` values of E[p] before sampling, in [0, 1].
        predicted_variance: `B` values of Var[p] before sampling.
        successes: `B` sums of rewards in [0, 1], each at most `observed`.
        rollouts_total: Rollouts of the run up to and including this step, over all starts.
        seconds: Seconds of this step in each part of the package (embed, predict, allocate, collect, observe).
        tokens: `B` sums of response tokens over the prompt's returned rollouts; None if they were not recorded.
        kept: `B` numbers of rollouts that the update used; None if it used all returned rollouts.
        rounds: Number of sampling rounds.
        spends_all: Whether the strategy always requests the whole budget; others may leave a part of it.
        varied: `B` flags, whether the prompt's returned rewards differ; None if this was not recorded.
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
            # Rewards are summed in floating point, so that the sum may exceed the count by a rounding error.
            if not -1e-6 <= total <= count + 1e-6:
                raise InvalidInputError(
                    f"successes must lie between 0 and the observed count; prompt {prompt!r} has {total} of {count}."
                )

    @property
    def trained(self) -> list[int]:
        """`B` numbers of rollouts that the update used."""
        return self.observed if self.kept is None else self.kept

    @property
    def keeps_budget(self) -> bool:
        """Whether the requested rollouts are within the budget, and use all of it if the strategy must."""
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
    """One pass over the validation problems, or one batch of a pass; `read_run` pools the batches of a pass.

    Attributes:
        step: Number of training steps before the validation; 0 before training.
        wall_time: Unix time at the end of the validation, in seconds.
        rollouts_total: Number of training rollouts before the validation.
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
        """The number of problems over all labels."""
        return sum(self.count.values())

    @property
    def accuracy(self) -> float:
        """Mean score over all problems, in [0, 1]."""
        return sum(self.correct.values()) / self.num_problems


Record = RunHeader | StepRecord | ValidationRecord
