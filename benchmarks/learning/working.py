"""The second benchmark: answers after letters of free choice, most prompts nearly solved or nearly hopeless."""

from dataclasses import replace

from benchmarks.learning.bench import Bench, at, drawn, peer, sizes, vip
from benchmarks.learning.update import Estimator

_RATES = (2.5e-4, 5e-4, 1e-3)
_REINFORCE = Estimator("reinforce")
_PREDICTED = Estimator("predicted_baseline")
#: `gradient_noise` has what this is taken from.
_COUPLED = replace(_PREDICTED, score_coupling=0.65)
_GP = "drifting_gp"
#: Rollouts a step of the peers.
_PEER = (32, 64)

WORKING = Bench(
    name="working",
    files="learning",
    tuning_set="working_tuning",
    report_set="working_report",
    grids={
        "uniform_reinforce": at(_RATES, *sizes("uniform_reinforce", 1, (16, 32), estimator=Estimator("reinforce"))),
        "uniform_rloo": (
            *at(_RATES[1:], *sizes("uniform_rloo", 4, (64,)), *sizes("uniform_rloo", 8, (32, 64))),
            *at(_RATES[1:], *sizes("uniform_rloo", 2, (32,))),
        ),
        "uniform_batch_mean": at(
            _RATES[:2], *sizes("uniform_batch_mean", 1, (16, 32), estimator=Estimator("batch_mean"))
        ),
        "uniform_grpo": at(_RATES[1:], *sizes("uniform_grpo", 8, (32, 64), estimator=Estimator("grpo"))),
        "ours": (
            *at(_RATES, *drawn("ours", _COUPLED, (16, 32), exponent=1.0)),
            *at(_RATES, *drawn("ours", _COUPLED, (16, 32), exponent=2.0, pool_ratio=6.0)),
            *at(_RATES[1:], *drawn("ours", _COUPLED, (32,), exponent=1.0, pool_ratio=6.0)),
            *at(_RATES[1:], *drawn("ours", _PREDICTED, (32,), exponent=1.0)),
            *at(_RATES, *drawn("ours", _REINFORCE, (16, 32), exponent=1.0)),
        ),
        "predicted_baseline": at(
            _RATES[1:], *sizes("predicted_baseline", 1, (32,), predictor=_GP, estimator=_PREDICTED)
        ),
        "coupled_baseline": at(_RATES[1:], *sizes("coupled_baseline", 1, (32,), predictor=_GP, estimator=_COUPLED)),
        **{
            name: at(_RATES[1:], *arms)
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
    tuning_targets=(0.7, 0.75, 0.8),
    target=0.7,
    other_targets=(0.6, 0.65, 0.75, 0.8),
    tuning_rollouts=8_192,
    report_rollouts=8_192,
    evaluate_every=512,
    stop_at=0.9,
    reference="uniform_rloo",
    first=("uniform_rloo", "uniform_grpo", "ours", "oracle"),
    shown=("uniform_rloo", "uniform_grpo", "predicted_baseline", "ours", "oracle"),
    labels={"uniform_rloo": "uniform, RLOO", "uniform_grpo": "uniform, GRPO"},
    finalists=2,
)
