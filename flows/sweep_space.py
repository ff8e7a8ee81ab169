"""What a sweep tries: designs, each a strategy with a budget, and the trials of a design, one a seed."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verl_vip.flows.training_run import TrainingRun

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.execution import fingerprint
from verl_vip.reporting.records import read_run


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
            f"vip.strategy={self.design.strategy}",
            f"actor_rollout_ref.rollout.n={self.design.budget}",
            f"data.seed={self.seed}",
        ]
        settings = fingerprint([base.recipe, overrides, dict(base.environment)])
        name = f"{self.design.strategy}-n{self.design.budget}-seed{self.seed}-{settings[:10]}"
        return TrainingRun(
            base.recipe, name, str(base.folder / "trials"), overrides, base.cluster, base.environment, base.python
        )


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


def all_designs(strategies: Sequence[str], budgets: Sequence[int]) -> list[Design]:
    """Return the grid, each strategy with each budget.

    Raises:
        ConfigError: If there is none, one is there twice, or a budget is not positive.
    """
    if not strategies or not budgets:
        raise ConfigError("a sweep needs at least one strategy and one budget.")
    if len(set(strategies)) < len(strategies) or len(set(budgets)) < len(budgets):
        raise ConfigError("a strategy or a budget is named twice.")
    if min(budgets) < 1:
        raise ConfigError(f"a budget is the rollouts of a prompt on average, at least 1; got {min(budgets)}.")
    return [Design(strategy, budget) for strategy in strategies for budget in budgets]


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
