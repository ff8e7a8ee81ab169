"""A bench: two task sets, the compared arms, and the targets.

Every arm, including the baseline and `prioritized`, is tuned in the same way: on the tuning task set, over rollouts per
step and learning rates, with the same seeds (see `tuning.choose`). Nothing is tuned on the report task set.
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
    """A bench.

    Attributes:
        name: The name of the bench.
        files: The folder of its result files.
        tuning_set: The task set for choosing settings.
        report_set: The task set for reported results.
        grids: Candidate settings and learning rates of each arm, in the order of tuning.
        tuning_targets: Accuracies of the tuning rule; None for those of `tuning.ruled_targets`.
        target: The accuracy of the reported ratios; None for that of `report.settled`.
        other_targets: Further accuracies with ratios.
        tuning_rollouts: Length of a tuning run.
        report_rollouts: Length of a reported run.
        evaluate_every: Rollouts between points of a curve.
        stop_at: Accuracy at which a run ends.
        reference: The strongest uniform baseline, against which ratios are taken; "" for that of `report.settled`.
        first: Arms that are run first, with all seeds.
        shown: Arms whose curves are plotted.
        labels: Names in the pictures, where they differ from the arm's name.
        derived: Further reported arms: the chosen arm that each starts from, and the parts that differ.
        tuning_seeds: Number of tuning seeds.
        report_seeds: Number of seeds of the reported runs.
        finalists: Number of candidates of an arm, the best with the first seed, that are run with further seeds; None
            for all of them.
        tuned_by: The bench whose tuning runs are used, by its `files`; "" for the bench's own.
    """

    name: str
    files: str
    tuning_set: str
    report_set: str
    grids: Mapping[str, tuple[Setting, ...]]
    tuning_targets: tuple[float, ...] | None
    target: float | None
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
    report_seeds: int = 5
    finalists: int | None = None
    tuned_by: str = ""

    @property
    def tuning_file(self) -> str:
        """The file of tuning runs, relative to the folder of all benches' results."""
        return f"{self.tuned_by or self.files}/tuning.jsonl"

    def candidates(self) -> dict[str, list[list[RunPlan]]]:
        """Return the candidate settings of each arm, each as a list of tuning runs, one for each seed."""
        return {
            name: [[self._tuning_job(arm, rate, seed) for seed in range(self.tuning_seeds)] for arm, rate in grid]
            for name, grid in self.grids.items()
        }

    def report_jobs(self, seeds: int, chosen: Mapping[str, Choice]) -> list[RunPlan]:
        """Return the runs on the report task set: the `first` arms, then the others, seed by seed.

        Args:
            seeds: Number of seeds.
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
    """Return the changes that make an arm with a draw sample every prompt alike, for `Bench.derived`."""
    return {"strategy": "uniform", "predictor": "moving_average", "estimator": estimator, "strategy_settings": {}}


def at(rates: tuple[float, ...], *arms: TrainingArm) -> tuple[Setting, ...]:
    """Return each arm at each learning rate."""
    return tuple((arm, rate) for arm in arms for rate in rates)


def sizes(name: str, group: int, rollouts: tuple[int, ...] = (32, 64), **others: Any) -> tuple[TrainingArm, ...]:
    """Return an arm at several step sizes, with a given mean number of rollouts per prompt."""
    return tuple(TrainingArm(name, prompts=total // group, rollouts=total, **others) for total in rollouts)


def drawn(
    name: str, estimator: Estimator, rollouts: tuple[int, ...], labels: str = "", **settings: Any
) -> tuple[TrainingArm, ...]:
    """Return an arm with one rollout of each prompt, drawn by its expected reward variance."""
    return sizes(
        name, 1, rollouts, strategy="prioritized", predictor="drifting_gp", estimator=estimator,
        strategy_settings=settings, labels=labels,
    )  # fmt: skip


def vip(
    name: str, predictor: str = "gaussian_process", rollouts: tuple[int, ...] = (32, 64), group: int = 4
) -> tuple[TrainingArm, ...]:
    """Return an arm with a strategy that divides the budget over all prompts of a batch."""
    return sizes(name, group, rollouts, strategy=name, predictor=predictor, lower=2, upper=4 * group)


def peer(name: str, group: int, rollouts: tuple[int, ...] = (32, 64), **settings: Any) -> tuple[TrainingArm, ...]:
    """Return an arm with a strategy that needs no predictor."""
    return sizes(name, group, rollouts, strategy=name, strategy_settings=settings)


def peers(rates: tuple[float, ...], rollouts: tuple[int, ...]) -> dict[str, tuple[Setting, ...]]:
    """Return the grids of the published strategies of others, and of VIP with permuted counts."""
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
