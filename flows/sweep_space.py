"""The search space of a sweep: a design is a strategy with a budget, and has one trial for each seed."""

import importlib.util
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from verl_vip.annotations import check_fields
from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.execution import fingerprint, is_complete
from verl_vip.flows.parameters import SweepParameters
from verl_vip.flows.training_run import TrainingRun
from verl_vip.recipes.overrides import override
from verl_vip.records.records import read_run
from verl_vip.strategies.registry import build_strategy

_STRATEGY, _BUDGET, _SEED = "vip.strategy", "actor_rollout_ref.rollout.n", "data.seed"
_AXES: Mapping[str, str] = {_STRATEGY: "--strategies", _BUDGET: "--budgets", _SEED: "--seeds"}


@dataclass(frozen=True, order=True)
class Design:
    """A point in the search space.

    Attributes:
        strategy: The value of `vip.strategy`.
        budget: Mean rollouts per prompt, the value of `actor_rollout_ref.rollout.n`.
    """

    strategy: str
    budget: int


@dataclass(frozen=True, order=True)
class Trial:
    """One training run of a design."""

    design: Design
    seed: int

    def run(self, base: TrainingRun) -> TrainingRun:
        """Return the run of this trial in the folder of `base`; its name shows its settings.

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
        strategy = re.sub(r"[^\w.-]", "_", self.design.strategy)  # for package.module:Class
        name = f"{strategy}-n{self.design.budget}-seed{self.seed}-{settings[:10]}"
        return replace(base, name=name, root=str(base.folder / "trials"), overrides=overrides)


@dataclass(frozen=True)
class SweepPlan(SweepParameters):
    """The trials that a sweep runs, and how many run at the same time.

    Raises:
        ConfigError: If a value has the wrong type or is out of range, there is no strategy or no budget, one is listed
            twice, a strategy is unknown, an override sets a key that the sweep varies, or the search needs a package
            that is not installed.
    """

    overrides: Sequence[str] = ()  # of all trials, to be checked

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
                raise ConfigError(f"{key} is set by the sweep; leave {word} out and use {_AXES[key]}.")
        if self.search == "botorch" and importlib.util.find_spec("botorch") is None:
            raise ConfigError("the search botorch needs the package botorch; pip install 'verl-vip[flows]'.")

    @property
    def grid(self) -> list[Design]:
        """All designs: each strategy with each budget."""
        return [Design(strategy, budget) for strategy in self.strategies for budget in self.budgets]

    def check(self, base: TrainingRun) -> str:
        """Compose and check the config of every design, unless its first trial is finished; see `TrainingRun.check`.

        The settings of `base` alone are those of no trial, and need not be possible.

        Returns:
            The reason if the configs cannot be checked here; otherwise an empty text.

        Raises:
            VerlVipError: If a trial would be refused.
        """
        for design in self.grid:
            run = Trial(design, 1).run(base)
            if not is_complete(run.folder, run.job().fingerprint) and (unchecked := run.check()):
                return unchecked
        return ""

    @property
    def wanted(self) -> int:
        """The number of designs to try."""
        every = len(self.strategies) * len(self.budgets)
        return every if self.search == "grid" or self.designs is None else min(self.designs, every)


@dataclass(frozen=True)
class Measurement:
    """The result of a trial.

    Attributes:
        accuracy: Accuracy in the last validation, in [0, 1].
        problems: Number of problems in that validation.
    """

    accuracy: float
    problems: int


@dataclass(frozen=True)
class Point:
    """A design with the results of all its trials.

    Attributes:
        design: The design.
        accuracies: The accuracy of each finished trial.
        problems: Number of problems in one validation.
    """

    design: Design
    accuracies: tuple[float, ...]
    problems: int

    @property
    def accuracy(self) -> float:
        """The mean accuracy of the trials."""
        return statistics.fmean(self.accuracies)


def measure(run: TrainingRun) -> Measurement:
    """Read the result of a finished trial.

    Raises:
        InvalidInputError: If the trial was never validated.
    """
    records = read_run(run.folder)
    if not records.validations:
        raise InvalidInputError(
            f"{run.name} was never validated; set trainer.test_freq so that its last step is validated."
        )
    last = records.validations[-1]
    return Measurement(last.accuracy, last.num_problems)


def points(measured: Mapping[Trial, Measurement]) -> list[Point]:
    """Group the results of trials by design."""
    found: dict[Design, list[Measurement]] = {}
    for trial in sorted(measured):
        found.setdefault(trial.design, []).append(measured[trial])
    return [Point(design, tuple(one.accuracy for one in ones), ones[-1].problems) for design, ones in found.items()]
