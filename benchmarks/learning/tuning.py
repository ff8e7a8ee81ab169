"""Chooses each arm's settings from finished runs on the tuning task set.

The rule was fixed before any of these runs. The chosen settings have the least geometric mean of rollouts to the
target, over seeds and the bench's tuning targets. A run that misses a target counts with its length. If no run of
several settings reaches any target, they are ordered by final accuracy. If a bench has finalists, these are an arm's
best settings with the first seed, and only they are run and compared with the other seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.learning.analysis import spent_at
from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.loop import RunPlan, identity

#: Weight of the final accuracy, which only breaks ties.
_TIE_BREAK = 1e-6

#: The runs of one candidate setting, one for each seed.
Candidate = Sequence[RunPlan]


@dataclass(frozen=True)
class Choice:
    """An arm with its learning rate, its score (rollouts, lower is better), and the seeds of the score."""

    arm: TrainingArm
    learning_rate: float
    score: float
    seeds: tuple[int, ...]


class Scores:
    """Scores of finished runs: the mean log of rollouts to the tuning targets; lower is better.

    Args:
        records: Finished runs.
        targets: The tuning targets.
    """

    def __init__(self, records: Sequence[dict[str, Any]], targets: Sequence[float]) -> None:
        self._known = {identity(record["job"]): score(record["curve"], targets) for record in records}

    def of(self, candidate: Candidate) -> dict[int, float]:
        """Return the scores of a candidate's finished runs by seed."""
        return {job.seed: self._known[key] for job in candidate if (key := identity(job.key())) in self._known}


def finalists(candidates: Sequence[Candidate], scores: Scores, count: int) -> list[Candidate]:
    """Return the candidates with the `count` best scores with the first seed, or none if some have not run."""
    first = [scores.of(candidate[:1]) for candidate in candidates]
    if not all(first):
        return []
    order = np.argsort([next(iter(found.values())) for found in first], kind="stable")
    return [candidates[k] for k in order[:count]]


def choose(
    candidates: Mapping[str, Sequence[Candidate]], scores: Scores, *, final: int | None = None
) -> dict[str, Choice]:
    """Return the best candidate of each arm, on the seeds that all its candidates or finalists have finished.

    Args:
        candidates: Candidates by arm. A single candidate needs no runs.
        scores: Scores of the finished runs.
        final: Number of finalists of an arm; None for all candidates.

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
    """Return the mean log of rollouts to the targets, plus a tiny penalty for a low final accuracy."""
    accuracy = np.array([point["accuracy"] for point in curve], dtype=np.float64)
    spent = np.array([point["rollouts"] for point in curve], dtype=np.float64)
    cost = np.mean([np.log(max(spent_at(accuracy, spent, target)[0], 1.0)) for target in targets])
    return float(cost - _TIE_BREAK * accuracy[-1])
