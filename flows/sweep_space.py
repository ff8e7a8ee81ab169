"""What a sweep tries: designs, each a strategy with a budget, and the trials of a design, one a seed."""

import importlib.util
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from verl_vip.annotations import Range, check_fields
from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.execution import fingerprint
from verl_vip.flows.training_run import TrainingRun
from verl_vip.recipes.overrides import override
from verl_vip.records.records import read_run
from verl_vip.strategies.registry import build_strategy

Search = Literal["grid", "botorch"]
_Number = Annotated[int, Range(least=1, most=10**6)]

_STRATEGY, _BUDGET, _SEED = "vip.strategy", "actor_rollout_ref.rollout.n", "data.seed"
_AXES: Mapping[str, str] = {_STRATEGY: "--strategies", _BUDGET: "--budgets", _SEED: "--seeds"}


@dataclass(frozen=True, order=True)
class Design:
    """A point of the sweep.

    Attributes:
        strategy: `vip.strategy`.
        budget: Rollouts a prompt on average, `actor_rollout_ref.rollout.n`.
    """

    strategy: str
    budget: int


@dataclass(frozen=True, order=True)
class Trial:
    """One training run of a design."""

    design: Design
    seed: int

    def run(self, base: TrainingRun) -> TrainingRun:
        """Return the run of this trial in the folder of `base`; its name says which settings it has.

        Args:
            base: The run whose recipe and overrides all trials share, named after the sweep.
        """
        overrides = [
            *base.overrides,
            override(_STRATEGY, self.design.strategy),
            override(_BUDGET, self.design.budget),
            override(_SEED, self.seed),
        ]
        settings = fingerprint([base.recipe, overrides, dict(base.environment)])
        strategy = re.sub(r"[^\w.-]", "_", self.design.strategy)  # package.module:Class, too, names a folder
        name = f"{strategy}-n{self.design.budget}-seed{self.seed}-{settings[:10]}"
        return TrainingRun(
            base.recipe, name, str(base.folder / "trials"), overrides, base.cluster, base.environment, base.python
        )


@dataclass(frozen=True)
class SweepPlan:
    """Which trials a sweep is to make, and how many at a time.

    Attributes:
        strategies: Values of `vip.strategy`.
        budgets: Rollouts a prompt on average.
        seeds: Trials of a design, with seeds 1, 2 and so on.
        search: How designs are chosen.
        designs: With "botorch", how many of them; None for all.
        concurrency: Trials at a time.
        overrides: Of all trials.

    Raises:
        ConfigError: If a value is of another type or out of range, there is no strategy or no budget, one is there
            twice, a strategy is unknown, an override sets what the sweep varies, or the search needs a package that is
            not installed.
    """

    strategies: Sequence[str]
    budgets: Sequence[_Number]
    seeds: _Number = 3
    search: Search = "grid"
    designs: _Number | None = None
    concurrency: _Number = 1
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.strategies or not self.budgets:
            raise ConfigError("a sweep needs at least one strategy and one budget.")
        for axis, values in (("strategy", self.strategies), ("budget", self.budgets)):
            if twice := [value for value in values if list(values).count(value) > 1]:
                raise ConfigError(f"{axis} {twice[0]!r} is named twice; name each once.")
        for strategy in self.strategies:
            build_strategy(strategy, "rloo")  # refuses unknown names
        for word in self.overrides:
            if (key := word.lstrip("+").partition("=")[0]) in _AXES:
                raise ConfigError(f"{key} is what the sweep varies; leave {word} out and use {_AXES[key]}.")
        if self.search == "botorch" and importlib.util.find_spec("botorch") is None:
            raise ConfigError("the search botorch needs the package of that name; pip install 'verl-vip[flows]'.")

    @property
    def grid(self) -> list[Design]:
        """Each strategy with each budget."""
        return [Design(strategy, budget) for strategy in self.strategies for budget in self.budgets]

    @property
    def wanted(self) -> int:
        """How many designs are to be tried."""
        every = len(self.strategies) * len(self.budgets)
        return every if self.search == "grid" or self.designs is None else min(self.designs, every)


@dataclass(frozen=True)
class Measurement:
    """What a trial came to.

    Attributes:
        accuracy: Of the last validation, in [0, 1].
        problems: In that validation.
    """

    accuracy: float
    problems: int


@dataclass(frozen=True)
class Point:
    """A design with its trials together.

    Attributes:
        design: Which.
        accuracies: One a finished trial.
        problems: In one validation.
    """

    design: Design
    accuracies: tuple[float, ...]
    problems: int

    @property
    def accuracy(self) -> float:
        """Mean over the trials."""
        return statistics.fmean(self.accuracies)


def measure(run: TrainingRun) -> Measurement:
    """Read what a finished trial came to.

    Raises:
        InvalidInputError: If it was never validated.
    """
    records = read_run(run.folder)
    if not records.validations:
        raise InvalidInputError(f"{run.name} was never validated; set trainer.test_freq so that its last step is.")
    last = records.validations[-1]
    return Measurement(last.accuracy, last.num_problems)


def points(measured: Mapping[Trial, Measurement]) -> list[Point]:
    """Gather the trials of each design."""
    found: dict[Design, list[Measurement]] = {}
    for trial in sorted(measured):
        found.setdefault(trial.design, []).append(measured[trial])
    return [Point(design, tuple(one.accuracy for one in ones), ones[-1].problems) for design, ones in found.items()]
