"""Chooses each arm's settings from finished runs on the tuning task set.

The rule, written before any of these runs: the least geometric mean, over seeds and over the targets .70, .75 and
.80, of rollouts until the target; a run that misses one counts there as its end. The tuning set starts higher than
the report set, and uniform takes about as long to .75 and .80 there as to .70 on the report set.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.learning.analysis import spent_at
from benchmarks.learning.arms import Arm
from benchmarks.learning.loop import Job

TUNING_TARGETS = (0.7, 0.75, 0.8)


@dataclass(frozen=True)
class Choice:
    """An arm with its learning rate, the score it was chosen for (rollouts, less is better), and over which seeds."""

    arm: Arm
    learning_rate: float
    score: float
    seeds: tuple[int, ...]


def choose(candidates: Mapping[str, Sequence[Sequence[Job]]], records: Sequence[dict[str, Any]]) -> dict[str, Choice]:
    """Return the best candidate of each arm, judged on the seeds that all candidates of the arm have finished.

    Args:
        candidates: By arm, candidate settings as their runs, one a seed.
        records: Finished runs.

    Raises:
        SystemExit: If the candidates of an arm have no finished seed in common.
    """
    scores = {json.dumps(record["job"], sort_keys=True): score(record["curve"]) for record in records}
    chosen = {}
    for name, options in candidates.items():
        found = [
            {run.seed: scores[key] for run in runs if (key := json.dumps(run.key(), sort_keys=True)) in scores}
            for runs in options
        ]
        seeds = tuple(sorted(set.intersection(*map(set, found))))
        if not seeds:
            raise SystemExit(f"arm {name} has no seed with all its tuning runs; run `tune` for longer first.")
        means = [float(np.exp(np.mean([each[seed] for seed in seeds]))) for each in found]
        best = int(np.argmin(means))
        chosen[name] = Choice(options[best][0].arm, options[best][0].learning_rate, means[best], seeds)
    return chosen


def score(curve: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean log of rollouts until each of the tuning targets."""
    accuracy = np.array([point["accuracy"] for point in curve], dtype=np.float64)
    spent = np.array([point["rollouts"] for point in curve], dtype=np.float64)
    return float(np.mean([np.log(max(spent_at(accuracy, spent, target)[0], 1.0)) for target in TUNING_TARGETS]))
