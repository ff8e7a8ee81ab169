"""The second benchmark: answers after letters of free choice, most prompts nearly solved or nearly hopeless."""

from dataclasses import replace

from benchmarks.learning.bench import Bench, at, drawn, peer, sizes, vip
from benchmarks.learning.update import Estimator

_RATES = (5e-4, 1e-3)
_REINFORCE = Estimator("reinforce")
_PREDICTED = Estimator("predicted_baseline")
#: `gradient_noise` has what this is taken from.
_COUPLED = replace(_PREDICTED, score_coupling=0.65)
_DECISION = replace(_PREDICTED, score_coupling=1.0)
_GP = "drifting_gp"
#: Rollouts a step of the peers: they run as RLOO with groups of four learns fastest, and were not tuned themselves.
_PEER = (64,)

WORKING = Bench(
    name="working",
    files="learning",
    tuning_set="working_tuning",
    report_set="working_report",
    grids={
        "uniform_reinforce": at(_RATES, *sizes("uniform_reinforce", 1, (8, 16, 32), estimator=_REINFORCE)),
        "uniform_batch_mean": at(_RATES, *sizes("uniform_batch_mean", 1, (16,), estimator=Estimator("batch_mean"))),
        "uniform_rloo": (
            *at(_RATES, *sizes("uniform_rloo", 2, (16, 32))),
            *at(_RATES, *sizes("uniform_rloo", 4, (16, 32, 64))),
            *at(_RATES, *sizes("uniform_rloo", 8, (32, 64))),
        ),
        "ours": (
            *at(_RATES, *drawn("ours", _COUPLED, (16, 32, 64), exponent=1.0)),
            *at(_RATES, *drawn("ours", _COUPLED, (16, 32), exponent=2.0, pool_ratio=6.0)),
            *at(_RATES, *drawn("ours", _REINFORCE, (16, 32), exponent=1.0)),
            *at(_RATES[:1], *drawn("ours", _REINFORCE, (16,), exponent=2.0, pool_ratio=6.0)),
            *at(_RATES[:1], *drawn("ours", _DECISION, (16,), exponent=2.0, pool_ratio=6.0)),
        ),
        **{
            name: at((1e-3,), *arms)
            for name, arms in {
                "dapo": peer("dapo", 4, _PEER, group_size=4),
                "knapsack": sizes("knapsack", 4, _PEER, strategy="knapsack", predictor="last_seen", lower=2),
                "vip_paper": vip("vip_paper", rollouts=_PEER),
                "vigor": peer("vigor", 8, _PEER),
                "reinforce_ada": peer("reinforce_ada", 4, _PEER, round_size=4),
                "pilot_commit": peer("pilot_commit", 4, _PEER, pilot=2, commit=6),
                "pods": peer("pods", 8, _PEER),
                "vip_released_code": vip("vip_released_code", rollouts=_PEER),
                "random_permutation": vip("random_permutation", _GP, rollouts=_PEER),
            }.items()
        },
    },
    tuning_targets=(0.65, 0.7, 0.75),
    target=0.7,
    other_targets=(0.6, 0.65, 0.75, 0.8),
    tuning_rollouts=4_096,
    report_rollouts=4_096,
    evaluate_every=256,
    stop_at=0.9,
    # The rule chose 32 x 1 at 1e-3 for uniform ("uniform_reinforce"); ours' step and rate are better on the report set:
    # the reference was changed to them when both had been seen, to ours' disadvantage.
    reference="uniform_as_ours",
    first=("uniform_reinforce", "uniform_as_ours", "uniform_rloo", "ours", "drawn_reinforce", "oracle"),
    shown=("uniform_as_ours", "uniform_rloo", "ours", "drawn_reinforce", "oracle"),
    labels={
        "uniform_reinforce": "uniform, REINFORCE, as tuned",
        "uniform_as_ours": "uniform, REINFORCE, ours' rate",
        "drawn_reinforce": "our draw, no baseline",
        "uniform_rloo": "uniform, RLOO",
    },
    derived={
        "oracle": ("ours", {"predictor": "oracle"}),
        "uniform_as_ours": (
            "ours",
            {"strategy": "uniform", "predictor": "moving_average", "estimator": _REINFORCE, "strategy_settings": {}},
        ),
        "drawn_reinforce": ("ours", {"estimator": _REINFORCE, "strategy_settings": {"exponent": 1.0}}),
        "coupled_baseline": ("ours", {"strategy": "uniform", "strategy_settings": {}}),
        "predicted_baseline": ("ours", {"strategy": "uniform", "strategy_settings": {}, "estimator": _PREDICTED}),
        "uniform_dr_grpo": ("uniform_rloo", {"estimator": Estimator("dr_grpo")}),
        "uniform_grpo": ("uniform_rloo", {"estimator": Estimator("grpo")}),
    },
    tuning_seeds=3,
    finalists=4,
)
