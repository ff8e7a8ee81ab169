"""The bench `short_answers`: answers of a few letters, with one right answer."""

from dataclasses import replace

from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.bench import Bench, Setting, at, drawn, evenly, peer, sizes, vip
from benchmarks.learning.update import Estimator

_PREDICTED = Estimator("predicted_baseline")
_REINFORCE = Estimator("reinforce")
_LEAST_VARIANCE = replace(_PREDICTED, score_coupling=1.0)
_GP = "drifting_gp"


def _at_both(grids: dict[str, tuple[TrainingArm, ...]]) -> dict[str, tuple[Setting, ...]]:
    return {name: at((5e-4, 1e-3), *arms) for name, arms in grids.items()}


SHORT_ANSWERS = Bench(
    name="short_answers",
    files="short_answers",
    tuning_set="tuning",
    report_set="report",
    grids=_at_both(
        {
            "uniform": sizes("uniform", 1, (8, 16, 32), estimator=_REINFORCE),
            "prioritized": (
                *drawn("prioritized", _LEAST_VARIANCE, (8, 16, 32), exponent=1.0),
                *drawn("prioritized", _LEAST_VARIANCE, (16, 32), exponent=2.0),
            ),
            "drawn_reinforce": drawn("drawn_reinforce", _REINFORCE, (8, 16), exponent=1.0),
            "uniform_rloo": (*sizes("uniform_rloo", 4, (16, 32)), *sizes("uniform_rloo", 2, (16, 32))),
            "uniform_grpo": sizes("uniform_grpo", 4, estimator=Estimator("grpo")),
            "predicted_baseline": sizes("predicted_baseline", 1, predictor=_GP, estimator=_PREDICTED),
            "least_variance_baseline": sizes(
                "least_variance_baseline", 1, (16, 32), predictor=_GP, estimator=_LEAST_VARIANCE
            ),
            "drawn_predicted_baseline": drawn("drawn_predicted_baseline", _PREDICTED, (32,), exponent=1.0),
            "vip_paper": vip("vip_paper"),
            "vip_released_code": vip("vip_released_code"),
            "random_permutation": vip("random_permutation", _GP),
            "knapsack": sizes("knapsack", 4, strategy="knapsack", predictor="last_seen", lower=2),
            "pods": peer("pods", 8),
            "pilot_commit": peer("pilot_commit", 4, pilot=2, commit=6),
            "reinforce_ada": peer("reinforce_ada", 4, round_size=4),
            "vigor": peer("vigor", 8),
            "dapo": peer("dapo", 4, group_size=4),
        }
    ),
    # The tuning set starts higher than the report set: uniform takes about as long to .75 and .80 on it as to .70 here.
    tuning_targets=(0.7, 0.75, 0.8),
    # Set to the accuracy of the uniform runs on the report set, before any other run was seen.
    target=0.7,
    other_targets=(0.6, 0.65, 0.75, 0.8),
    tuning_rollouts=3_072,
    report_rollouts=4_096,
    evaluate_every=128,
    stop_at=0.85,
    # The tuning rule chose twice this rate ("uniform"), which is worse on the report set. The reference was changed to
    # this setting after both had been seen, which works against `prioritized`.
    reference="uniform_as_prioritized",
    first=("uniform", "uniform_as_prioritized", "uniform_rloo", "prioritized", "oracle"),
    shown=("uniform_as_prioritized", "uniform_rloo", "uniform", "prioritized", "oracle"),
    labels={
        "uniform": "uniform, REINFORCE, rate 1e-3",
        "uniform_as_prioritized": "uniform, REINFORCE, rate of prioritized",
        "uniform_rloo": "uniform, RLOO",
    },
    derived={
        # `prioritized` with the truth in place of the prediction.
        "oracle": ("prioritized", {"predictor": "oracle"}),
        # The rule may have chosen badly for uniform, so it also runs with the step size and rate of `prioritized`.
        "uniform_as_prioritized": ("prioritized", evenly(_REINFORCE)),
        # At equal counts it is RLOO up to a factor, which AdamW cancels.
        "uniform_dr_grpo": ("uniform_rloo", {"estimator": Estimator("dr_grpo")}),
    },
)
