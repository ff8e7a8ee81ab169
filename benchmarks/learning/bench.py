"""A benchmark: two task sets, what is compared on them, and how the comparison is read.

Every arm is tuned in the same way, the baseline and `prioritized` included: on the tuning task set, over rollouts a
step and learning rates, with the same seeds (`tuning.choose` has the rule). Nothing is tuned on the report task set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.loop import RunPlan
from benchmarks.learning.tuning import Choice
from benchmarks.learning.update import Estimator

#: An arm and a learning rate.
Setting = tuple[TrainingArm, float]
#: A chosen setting under another name, with parts of the arm replaced.
Derived = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Bench:
    """A benchmark.

    Attributes:
        name: What it goes by.
        files: The folder of its result files.
        tuning_set: The task set that settings are chosen on.
        report_set: The task set that is reported.
        grids: What each arm is chosen from, with learning rates, in the order of tuning.
        tuning_targets: Accuracies whose cost settings are chosen by.
        target: Accuracy whose cost is reported.
        other_targets: Where else the ratio of rollouts is taken.
        tuning_rollouts: Length of a tuning run.
        report_rollouts: Length of a reported run.
        evaluate_every: Rollouts between points of a curve.
        stop_at: Runs end at this accuracy.
        reference: The arm that ratios are to: the strongest uniform baseline.
        first: Arms that are reported first, with all seeds.
        shown: Arms whose curves are drawn.
        labels: Names for the pictures, where the arm's own will not do.
        derived: Further reported arms: from which chosen one, and what differs.
        tuning_seeds: How many.
        finalists: How many candidates of an arm, the best with the first seed, are run with further seeds; None for
            all of them.
    """

    name: str
    files: str
    tuning_set: str
    report_set: str
    grids: Mapping[str, tuple[Setting, ...]]
    tuning_targets: tuple[float, ...]
    target: float
    other_targets: tuple[float, ...]
    tuning_rollouts: int
    report_rollouts: int
    evaluate_every: int
    stop_at: float
    reference: str
    first: tuple[str, ...]
    shown: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, Derived] = field(default_factory=dict)
    tuning_seeds: int = 3
    finalists: int | None = None

    def candidates(self) -> dict[str, list[list[RunPlan]]]:
        """Return for each arm its candidate settings, each as its runs on the tuning set, one a seed."""
        return {
            name: [[self._tuning_job(arm, rate, seed) for seed in range(self.tuning_seeds)] for arm, rate in grid]
            for name, grid in self.grids.items()
        }

    def report_jobs(self, seeds: int, chosen: Mapping[str, Choice]) -> list[RunPlan]:
        """Return the runs on the report task set: the `first` arms, then the others, all of one seed before the next.

        Args:
            seeds: How many.
            chosen: Each arm as it was tuned.
        """
        arms = dict(chosen)
        for name, (source, changes) in self.derived.items():
            if source not in chosen:
                continue
            arms[name] = replace(chosen[source], arm=replace(chosen[source].arm, name=name, **changes))
        groups = ([n for n in arms if n in self.first], [n for n in arms if n not in self.first])
        lengths = self.report_rollouts, self.evaluate_every, self.stop_at
        return [
            RunPlan(arms[name].arm, self.report_set, arms[name].learning_rate, seed, *lengths)
            for group in groups
            for seed in range(seeds)
            for name in group
        ]

    def _tuning_job(self, arm: TrainingArm, rate: float, seed: int) -> RunPlan:
        return RunPlan(arm, self.tuning_set, rate, seed, self.tuning_rollouts, self.evaluate_every, self.stop_at)


def evenly(estimator: Estimator) -> dict[str, Any]:
    """Return what makes a drawing arm one that serves every prompt alike: for `Bench.derived`."""
    return {"strategy": "uniform", "predictor": "moving_average", "estimator": estimator, "strategy_settings": {}}


def at(rates: tuple[float, ...], *arms: TrainingArm) -> tuple[Setting, ...]:
    """Return each arm at each learning rate."""
    return tuple((arm, rate) for arm in arms for rate in rates)


def sizes(name: str, group: int, rollouts: tuple[int, ...] = (32, 64), **others: Any) -> tuple[TrainingArm, ...]:
    """Return an arm at several step sizes with so many rollouts a prompt on average."""
    return tuple(TrainingArm(name, prompts=total // group, rollouts=total, **others) for total in rollouts)


def drawn(name: str, estimator: Estimator, rollouts: tuple[int, ...], **settings: Any) -> tuple[TrainingArm, ...]:
    """Return one rollout each of prompts drawn by what they can teach."""
    return sizes(
        name, 1, rollouts, strategy="prioritized", predictor="drifting_gp", estimator=estimator,
        strategy_settings=settings,
    )  # fmt: skip


def vip(
    name: str, predictor: str = "gaussian_process", rollouts: tuple[int, ...] = (32, 64), group: int = 4
) -> tuple[TrainingArm, ...]:
    """Return a strategy that spreads the budget over all prompts of a batch."""
    return sizes(name, group, rollouts, strategy=name, predictor=predictor, lower=2, upper=4 * group)


def peer(name: str, group: int, rollouts: tuple[int, ...] = (32, 64), **settings: Any) -> tuple[TrainingArm, ...]:
    """Return a strategy that needs no predictor."""
    return sizes(name, group, rollouts, strategy=name, strategy_settings=settings)


def peers(rates: tuple[float, ...], rollouts: tuple[int, ...]) -> dict[str, tuple[Setting, ...]]:
    """Return the grids of the strategies that others have published, and of VIP with its predictions permuted."""
    arms = {
        "dapo": peer("dapo", 4, rollouts, group_size=4),
        "knapsack": sizes("knapsack", 4, rollouts, strategy="knapsack", predictor="last_seen", lower=2),
        "vip_paper": vip("vip_paper", rollouts=rollouts),
        "vigor": peer("vigor", 8, rollouts),
        "reinforce_ada": peer("reinforce_ada", 4, rollouts, round_size=4),
        "pilot_commit": peer("pilot_commit", 4, rollouts, pilot=2, commit=6),
        "pods": peer("pods", 8, rollouts),
        "vip_released_code": vip("vip_released_code", rollouts=rollouts),
        "random_permutation": vip("random_permutation", "drifting_gp", rollouts=rollouts),
    }
    return {name: at(rates, *found) for name, found in arms.items()}
