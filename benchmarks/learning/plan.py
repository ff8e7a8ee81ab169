"""Which runs there are: every arm with all that it may be tuned over, and which arms are reported.

Every arm is tuned in the same way, the baseline and ours included: on the tuning task set, over rollouts a step and
learning rates, with the same seeds (`tuning.choose` has the rule). Nothing is tuned on the report task set.
"""

from dataclasses import replace
from typing import Any

from benchmarks.learning.arms import Arm
from benchmarks.learning.loop import Job
from benchmarks.learning.tuning import Choice
from benchmarks.learning.update import Estimator

#: Held-out accuracy whose cost is compared. The report task set is harder than the tuning one: it was set to what
#: the uniform runs reach there, before others were looked at.
TARGET = 0.7
REPORT_ROLLOUTS = 4_096
TUNING_ROLLOUTS = 3_072
EVALUATE_EVERY = 128
#: Runs end here, or at their largest number of rollouts.
STOP_AT = 0.85
LEARNING_RATES = (5e-4, 1e-3)
TUNING_SEEDS = 3

_PREDICTED = Estimator("predicted_baseline")
_REINFORCE = Estimator("reinforce")
_LEAST_VARIANCE = replace(_PREDICTED, score_coupling=1.0)
_GP = "drifting_gp"


def _sizes(name: str, group: int, rollouts: tuple[int, ...] = (32, 64), **others: Any) -> tuple[Arm, ...]:
    """Return an arm at several step sizes with so many rollouts a prompt on average."""
    return tuple(Arm(name, prompts=total // group, rollouts=total, **others) for total in rollouts)


def _drawn(name: str, estimator: Estimator, rollouts: tuple[int, ...], exponent: float = 1.0) -> tuple[Arm, ...]:
    """Return one rollout each of prompts drawn by what they can teach."""
    settings = {"exponent": exponent}
    return _sizes(
        name, 1, rollouts, strategy="prioritized", predictor=_GP, estimator=estimator, strategy_settings=settings
    )


def _vip(name: str, predictor: str = "gaussian_process") -> tuple[Arm, ...]:
    return _sizes(name, 4, strategy=name, predictor=predictor, lower=2, upper=16)


def _peer(name: str, group: int, **settings: Any) -> tuple[Arm, ...]:
    return _sizes(name, group, strategy=name, strategy_settings=settings)


#: What each arm is chosen from, in the order of tuning.
GRIDS: dict[str, tuple[Arm, ...]] = {
    "uniform": _sizes("uniform", 1, (8, 16, 32), estimator=_REINFORCE),
    "ours": (
        *_drawn("ours", _LEAST_VARIANCE, (8, 16, 32)),
        *_drawn("ours", _LEAST_VARIANCE, (16, 32), exponent=2.0),
    ),
    "drawn_reinforce": _drawn("drawn_reinforce", _REINFORCE, (8, 16)),
    "uniform_rloo": (*_sizes("uniform_rloo", 4, (16, 32)), *_sizes("uniform_rloo", 2, (16, 32))),
    "uniform_grpo": _sizes("uniform_grpo", 4, estimator=Estimator("grpo")),
    "predicted_baseline": _sizes("predicted_baseline", 1, predictor=_GP, estimator=_PREDICTED),
    "least_variance_baseline": _sizes("least_variance_baseline", 1, (16, 32), predictor=_GP, estimator=_LEAST_VARIANCE),
    "drawn_predicted_baseline": _drawn("drawn_predicted_baseline", _PREDICTED, (32,)),
    "vip_paper": _vip("vip_paper"),
    "vip_released_code": _vip("vip_released_code"),
    "random_permutation": _vip("random_permutation", _GP),
    "knapsack": _sizes("knapsack", 4, strategy="knapsack", predictor="last_seen", lower=2),
    "pods": _peer("pods", 8),
    "pilot_commit": _peer("pilot_commit", 4, pilot=2, commit=6),
    "reinforce_ada": _peer("reinforce_ada", 4, round_size=4),
    "vigor": _peer("vigor", 8),
    "dapo": _peer("dapo", 4, group_size=4),
}


def tuning_jobs() -> list[Job]:
    """Return the runs on the tuning task set, all of one seed before the next."""
    return [
        _tuning_job(arm, rate, seed)
        for seed in range(TUNING_SEEDS)
        for grid in GRIDS.values()
        for arm in grid
        for rate in LEARNING_RATES
    ]


def candidates() -> dict[str, list[list[Job]]]:
    """Return for each arm its candidate settings, each as its runs on the tuning set, one a seed."""
    return {
        name: [
            [_tuning_job(arm, rate, seed) for seed in range(TUNING_SEEDS)] for arm in grid for rate in LEARNING_RATES
        ]
        for name, grid in GRIDS.items()
    }


def report_jobs(seeds: int, chosen: dict[str, Choice]) -> list[Job]:
    """Return the runs on the report task set: `FIRST`, then the others, all with one seed before the next.

    Args:
        seeds: How many.
        chosen: Each arm as it was tuned. The oracle is ours with the truth in place of the prediction; Dr.GRPO runs
            with RLOO's setting: at equal counts it is RLOO up to a factor, which AdamW takes out.
    """
    ours, rloo = chosen["ours"], chosen["uniform_rloo"]
    derived = {
        "oracle": replace(ours, arm=replace(ours.arm, name="oracle", predictor="oracle")),
        # The rule may have chosen badly for uniform: ours' step size and rate, beside its own.
        "uniform_as_ours": replace(
            ours,
            arm=replace(
                chosen["uniform"].arm, name="uniform_as_ours", prompts=ours.arm.rollouts, rollouts=ours.arm.rollouts
            ),
        ),
        "uniform_dr_grpo": replace(rloo, arm=replace(rloo.arm, name="uniform_dr_grpo", estimator=Estimator("dr_grpo"))),
    }
    arms = {**chosen, **derived}
    first = [name for name in arms if name in FIRST]
    return [
        Job(arms[name].arm, "report", arms[name].learning_rate, seed, REPORT_ROLLOUTS, EVALUATE_EVERY, STOP_AT)
        for group in (first, [name for name in arms if name not in FIRST])
        for seed in range(seeds)
        for name in group
    ]


def _tuning_job(arm: Arm, rate: float, seed: int) -> Job:
    return Job(arm, "tuning", rate, seed, TUNING_ROLLOUTS, EVALUATE_EVERY, STOP_AT)


#: Run with all seeds before the others.
FIRST = ("uniform", "uniform_as_ours", "uniform_rloo", "ours", "oracle")
#: Arms whose curves are drawn.
SHOWN = ("uniform_as_ours", "uniform_rloo", "uniform", "ours", "oracle")
