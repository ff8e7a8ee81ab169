"""Chooses each arm's settings from finished runs on the tuning task set.

The rule, written before any of these runs: the least geometric mean, over seeds and over the benchmark's tuning
targets, of rollouts until the target; a run that misses one counts there as its end. Settings that tie, since none of
their runs gets to any target, are ordered by accuracy at the end. Where a benchmark has finalists, those are the best
of an arm by its first seed, and only they are run with, and judged on, the others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.learning.analysis import spent_at
from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.loop import RunPlan, identity

#: What accuracy at the end weighs: enough to part ties, and nothing else.
_TIE_BREAK = 1e-6

#: The runs of one candidate setting, one a seed.
Candidate = Sequence[RunPlan]


@dataclass(frozen=True)
class Choice:
    """An arm with its learning rate, the score it was chosen for (rollouts, less is better), and over which seeds."""

    arm: TrainingArm
    learning_rate: float
    score: float
    seeds: tuple[int, ...]


class Scores:
    """What each finished run is judged by: mean log of rollouts until the tuning targets, less is better.

    Args:
        records: Finished runs.
        targets: Accuracies.
    """

    def __init__(self, records: Sequence[dict[str, Any]], targets: Sequence[float]) -> None:
        self._known = {identity(record["job"]): score(record["curve"], targets) for record in records}

    def of(self, candidate: Candidate) -> dict[int, float]:
        """Return the scores of a candidate's finished runs by seed."""
        return {job.seed: self._known[key] for job in candidate if (key := identity(job.key())) in self._known}


def finalists(candidates: Sequence[Candidate], scores: Scores, count: int) -> list[Candidate]:
    """Return the candidates with the `count` best scores of their first seeds; none unless all have run."""
    first = [scores.of(candidate[:1]) for candidate in candidates]
    if not all(first):
        return []
    order = np.argsort([next(iter(found.values())) for found in first], kind="stable")
    return [candidates[k] for k in order[:count]]


def choose(
    candidates: Mapping[str, Sequence[Candidate]], scores: Scores, *, final: int | None = None
) -> dict[str, Choice]:
    """Return the best candidate of each arm, judged on the seeds that all its candidates, or finalists, have finished.

    Args:
        candidates: By arm. An only candidate needs no runs.
        scores: Of the finished runs.
        final: How many finalists an arm has; None for all candidates.

    Raises:
        SystemExit: If the candidates of an arm have no finished seed in common.
    """
    chosen = {}
    for name, options in candidates.items():
        if len(options) == 1:
            chosen[name] = Choice(options[0][0].arm, options[0][0].learning_rate, math.nan, ())
            continue
        judged = options if final is None else finalists(options, scores, final)
        found = [scores.of(option) for option in judged]
        seeds = tuple(sorted(set.intersection(*map(set, found)))) if found else ()
        if not seeds:
            raise SystemExit(f"arm {name} has no seed with all its tuning runs; run `tune` for longer first.")
        means = [float(np.exp(np.mean([each[seed] for seed in seeds]))) for each in found]
        best = int(np.argmin(means))
        chosen[name] = Choice(judged[best][0].arm, judged[best][0].learning_rate, means[best], seeds)
    return chosen


def score(curve: Sequence[Mapping[str, Any]], targets: Sequence[float]) -> float:
    """Return the mean log of rollouts until each of the targets, larger by a trace the lower the run ends."""
    accuracy = np.array([point["accuracy"] for point in curve], dtype=np.float64)
    spent = np.array([point["rollouts"] for point in curve], dtype=np.float64)
    cost = np.mean([np.log(max(spent_at(accuracy, spent, target)[0], 1.0)) for target in targets])
    return float(cost - _TIE_BREAK * accuracy[-1])
