"""Paired comparison of runs with the run of strategy "uniform" that has the same seed."""

from collections.abc import Mapping
from dataclasses import dataclass

from verl_vip.records.records import RunRecords
from verl_vip.reporting.grouping import decisive_settings, seeds_of, strategy_of
from verl_vip.statistics.intervals import Estimate, paired_interval

BASELINE = "uniform"


@dataclass(frozen=True)
class Advantage:
    """A group's accuracy minus the baseline's.

    Attributes:
        rollouts: The training rollouts at the comparison, the largest number at which all pairs were validated.
        pairs: The number of pairs: a run and the baseline's run with the same seed.
        difference: The mean over pairs with its 95% interval (Student's t), unbounded for a single pair.
    """

    rollouts: int
    pairs: int
    difference: Estimate


def advantage(members: Mapping[str, RunRecords], runs: Mapping[str, RunRecords]) -> Advantage | None:
    """Compare runs that share everything but the seed with those of strategy "uniform", seed by seed.

    The runs of a pair have the same seeds and the same settings outside the `vip` group. They share the order of the
    data and the initial model, so that their differences vary less than their accuracies.

    Args:
        members: The runs of one group, by name.
        runs: All runs, by name.

    Returns:
        The comparison; None if the group is the baseline, or no pair was validated after the same number of rollouts.
    """
    baselines = [run for run in runs.values() if strategy_of(run) == BASELINE]
    pairs = []
    for run in members.values():
        partner = next((other for other in baselines if _signature(other) == _signature(run)), None)
        if partner is not None and strategy_of(run) != BASELINE:
            pairs.append((_accuracies(run), _accuracies(partner)))
    if not pairs:
        return None
    point = max(set.intersection(*(mine.keys() & theirs.keys() for mine, theirs in pairs)), default=0)
    if point == 0:
        return None
    accuracies = [(mine[point], theirs[point]) for mine, theirs in pairs]
    return Advantage(point, len(pairs), paired_interval(*zip(*accuracies, strict=True)))


def _signature(run: RunRecords) -> tuple[dict[str, str], dict[str, str]]:
    settings = decisive_settings(run)
    return seeds_of(run), {key: value for key, value in settings.items() if not key.startswith("vip.")}


def _accuracies(run: RunRecords) -> dict[int, float]:
    return {record.rollouts_total: record.accuracy for record in run.validations}
