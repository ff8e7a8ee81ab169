"""Summaries of an arm's runs over several seeds, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verl_vip.simulation.run import Arm, RunResult, SimulationSettings
from verl_vip.statistics.intervals import Estimate, mean_interval, paired_interval

#: Number of points of an arm's curve, from no rollouts to all.
CURVE_POINTS = 65

#: Column title of each measure.
MEASURES = {
    "attainable_share": "share of attainable variance reduction",
    "regret": "variance above the least",
    "variance": "variance relative to uniform",
    "without_signal": "rollouts without signal",
    "trained": "rollouts used in the update",
    "rollouts_per_step": "rollouts a step",
    "success_end": "success at the end",
    "success_mean": "mean success over the run",
    "above_uniform": "mean success above uniform's, in points",
    "rollouts_to_uniform": "rollouts to uniform's final success",
}


@dataclass(frozen=True)
class ArmSummary:
    """The results of an arm.

    Attributes:
        arm: Strategy and predictor.
        measures: By the keys of `MEASURES`; None if a measure is not defined. The share is the part of the variance
            reduction from even counts to the best counts, at true success probabilities, that the arm's counts
            achieve. Share and regret need an arm of which every step serves its batch (`StepMeasures.serves_batch`);
            variances of other arms belong to other gradients. The last two compare with an arm of strategy "uniform",
            seed by seed. The rollouts to its final success, relative to those of the whole run, need every seed to
            reach it.
        rollouts: A `CURVE_POINTS` array.
        success: Mean success of all prompts after these rollouts, over seeds.
        success_half_width: Half the width of its 95% interval; 0 for a single seed.
    """

    arm: Arm
    measures: dict[str, Estimate | None]
    rollouts: NDArray[np.float64]
    success: NDArray[np.float64]
    success_half_width: NDArray[np.float64]


def summarize(
    arm: Arm, runs: Sequence[RunResult], settings: SimulationSettings, uniform: Sequence[RunResult] | None = None
) -> ArmSummary:
    """Summarise an arm's runs.

    Args:
        arm: Strategy and predictor.
        runs: One run for each seed.
        settings: The settings that the arms share.
        uniform: The runs of strategy "uniform" with the same seeds.
    """
    total = settings.steps * settings.budget.total
    grid = np.linspace(0, total, CURVE_POINTS)
    curves = np.array([np.interp(grid, _spent(run), run.success) for run in runs])
    points = [mean_and_half_width(mean_interval(curves[:, k].tolist())) for k in range(CURVE_POINTS)]
    per_seed = [_measures(run) for run in runs]
    measures: dict[str, Estimate | None] = {}
    for name in ("attainable_share", "regret", "variance", "without_signal", "trained", "rollouts_per_step"):
        values = [row[name] for row in per_seed]
        measures[name] = None if any(np.isnan(values)) else mean_interval(values)
    measures["success_end"] = mean_interval(curves[:, -1].tolist())
    measures["success_mean"] = mean_interval(_mean_heights(curves))
    measures["above_uniform"] = measures["rollouts_to_uniform"] = None
    if uniform is not None:
        even = np.array([np.interp(grid, _spent(run), run.success) for run in uniform])
        measures["above_uniform"] = paired_interval(_mean_heights(curves), _mean_heights(even))
        reached = [_first_at(run, goal) / total for run, goal in zip(runs, even[:, -1], strict=True)]
        if np.isfinite(reached).all():
            measures["rollouts_to_uniform"] = mean_interval(reached)
    return ArmSummary(
        arm,
        measures,
        grid,
        np.array([point["mean"] for point in points]),
        np.array([point["half_width"] for point in points]),
    )


def mean_and_half_width(estimate: Estimate) -> dict[str, float]:
    """Return an estimate over seeds as result files hold it; a single seed has no interval, and the half width 0."""
    return {"mean": estimate.value, "half_width": estimate.half_width if estimate.is_bounded else 0.0}


def _measures(run: RunResult) -> dict[str, float]:
    def total(name: str) -> float:
        return float(sum(getattr(step, name) for step in run.steps))

    variance, uniform, oracle = total("variance"), total("uniform_variance"), total("oracle_variance")
    rollouts = max(total("rollouts"), 1.0)
    comparable = all(step.serves_batch for step in run.steps) and uniform > oracle
    return {
        "attainable_share": (uniform - variance) / (uniform - oracle) if comparable else float("nan"),
        "regret": variance / oracle - 1 if comparable else float("nan"),
        "variance": variance / uniform,
        "without_signal": total("without_signal") / rollouts,
        "trained": total("trained") / rollouts,
        "rollouts_per_step": rollouts / len(run.steps),
    }


def _mean_heights(curves: NDArray[np.float64]) -> list[float]:
    """Return the mean of each curve over its length, by the trapezoid rule."""
    return [float(height) for height in ((curves[:, 1:] + curves[:, :-1]) / 2).mean(axis=1)]


def _spent(run: RunResult) -> NDArray[np.float64]:
    return np.cumsum([0, *(step.rollouts for step in run.steps)]).astype(np.float64)


def _first_at(run: RunResult, goal: float) -> float:
    """Return the number of rollouts at which success first reaches the goal, infinity if it never does."""
    success, spent = np.array(run.success), _spent(run)
    reached = np.flatnonzero(success >= goal)
    if not len(reached):
        return float("inf")
    k = int(reached[0])
    if k == 0:
        return 0.0
    share = (goal - success[k - 1]) / (success[k] - success[k - 1])
    return float(spent[k - 1] + share * (spent[k] - spent[k - 1]))
