"""From learning curves to rollouts until a target.

A curve is the exact mean success probability on the held-out prompts, every few hundred rollouts. It has no evaluation
noise, but single updates go up and down. Each point is therefore averaged with its two neighbours, and the first
crossing of the target is interpolated linearly.

A run that misses the target counts with its length, in every arm. All runs of a bench have the same length, the
horizon, so that the amounts are those until the target or the horizon, whichever comes first: restricted times, as in
survival analysis. Where no run is lost before the horizon, the Kaplan-Meier estimate is the share of runs that have
reached the target, which is given beside each figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """The runs of one arm.

    Attributes:
        name: The name of the arm.
        learning_rate: The learning rate of all its runs.
        horizon: The number of rollouts after which a run ends, the same for all its runs.
        seeds: The seed of each run, in ascending order.
        runs: The points of each run, with the fields of `loop.CurvePoint`.
    """

    name: str
    learning_rate: float
    horizon: int
    seeds: list[int]
    runs: list[list[dict[str, Any]]]

    @property
    def on_pool(self) -> "Curves | None":
        """The same runs with the accuracy on the training pool's mixture; None for runs that did not record it."""
        if not all("pool_accuracy" in point for run in self.runs for point in run):
            return None
        return replace(
            self, runs=[[{**point, "accuracy": point["pool_accuracy"]} for point in run] for run in self.runs]
        )

    def column(self, run: int, name: str) -> Floats:
        """Return one quantity of a run's points; "all_tokens" counts the tokens of prompts and answers."""
        points = self.runs[run]
        if name == "all_tokens":
            return np.array([point["prompt_tokens"] + point["answer_tokens"] for point in points], dtype=np.float64)
        return np.array([point[name] for point in points], dtype=np.float64)


def group_runs(records: Sequence[dict[str, Any]]) -> dict[str, Curves]:
    """Group finished jobs by arm.

    Raises:
        ValueError: If an arm has runs at several learning rates, or runs have different lengths.
    """
    if len(horizons := {record["job"]["max_rollouts"] for record in records}) > 1:
        raise ValueError(f"runs end after {sorted(horizons)} rollouts; compare runs of one length.")
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        found.setdefault(record["job"]["arm"]["name"], []).append(record)
    curves = {}
    for name, rows in found.items():
        rates = {row["job"]["learning_rate"] for row in rows}
        if len(rates) != 1:
            raise ValueError(f"arm {name} has runs at several learning rates, {sorted(rates)}; compare one of them.")
        rows.sort(key=lambda row: row["job"]["seed"])
        seeds = [row["job"]["seed"] for row in rows]
        curves[name] = Curves(name, rates.pop(), *horizons, seeds, [row["curve"] for row in rows])
    return curves


def smooth(accuracy: Floats) -> Floats:
    """Return the running mean over three points; the first is unchanged, and the last is averaged over two."""
    padded = np.concatenate([[np.nan], accuracy, [np.nan]])
    mean = np.nanmean(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    mean[0] = accuracy[0]
    return mean


def spent_at(accuracy: Floats, spent: Floats, target: float) -> tuple[float, bool]:
    """Return the amount spent when the smoothed curve first reached the target, and whether it did."""
    height = smooth(accuracy)
    reached = np.flatnonzero(height >= target)
    if not len(reached):
        return float(spent[-1]), False
    k = int(reached[0])
    if k == 0:
        return float(spent[0]), True
    share = (target - height[k - 1]) / (height[k] - height[k - 1])
    return float(spent[k - 1] + share * (spent[k] - spent[k - 1])), True


def spent_per_seed(curves: Curves, target: float, quantity: str) -> tuple[Floats, int]:
    """Return the amount that each run spent until the target, and the number of runs that missed it."""
    found = [
        spent_at(curves.column(k, "accuracy"), curves.column(k, quantity), target) for k in range(len(curves.runs))
    ]
    return np.array([value for value, _ in found]), sum(not reached for _, reached in found)


def accuracy_per_seed(curves: Curves, rollouts: float) -> Floats:
    """Return each run's accuracy after a number of rollouts, interpolated on its smoothed curve."""
    return np.array(
        [
            np.interp(rollouts, curves.column(k, "rollouts"), smooth(curves.column(k, "accuracy")))
            for k in range(len(curves.runs))
        ]
    )
