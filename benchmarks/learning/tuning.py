"""Chooses each arm's settings from finished runs on the tuning task set.

The rule was fixed before any of these runs. The chosen settings have the least geometric mean of rollouts to the
target, over seeds and the bench's tuning targets. A run that misses a target counts with its length. If no run of
several settings reaches any target, they are ordered by final accuracy. If a bench has finalists, these are an arm's
best settings with the first seed, and only they are run and compared with the other seeds.

If a bench states no tuning targets, they follow from the first-seed runs of its uniform REINFORCE settings, before any
other arm is tuned: the mean of their accuracies after two thirds and after all of a run, rounded down to a hundredth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.learning.analysis import smooth, spent_at
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


#: The arm that is tuned first, and whose runs set the targets of the others.
RULING = "uniform_reinforce"


def ruled_targets(records: Sequence[dict[str, Any]], candidates: Sequence[Candidate]) -> tuple[float, ...]:
    """Return the tuning targets of a bench that states none.

    Args:
        records: Finished tuning runs.
        candidates: The settings of `RULING`.

    Raises:
        SystemExit: If a first-seed run of one of these settings is missing.
    """
    curves = {identity(record["job"]): record["curve"] for record in records}
    wanted = [identity(candidate[0].key()) for candidate in candidates]
    if not set(wanted) <= set(curves):
        raise SystemExit(f"the tuning targets follow from the runs of {RULING}; run `tune --arms {RULING}` first.")
    ends = []
    for key in wanted:
        spent, reached = (np.array([point[name] for point in curves[key]]) for name in ("rollouts", "accuracy"))
        ends.append(np.interp([spent[-1] * 2 / 3, spent[-1]], spent, smooth(reached)))
    return tuple(math.floor(100 * level) / 100 for level in np.mean(ends, axis=0))


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
