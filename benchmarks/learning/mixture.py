"""The fourth benchmark: a pool mixed from sources of which most are too easy or cannot be learned; much free text."""

from typing import Any

from benchmarks.learning.bench import Bench, at, drawn, evenly, peer, peers, sizes
from benchmarks.learning.update import Estimator
from benchmarks.learning.working import REINFORCE

_RATES = (5e-4, 1e-3)
#: Twelve candidates for each that is served, since a sixth of the pool can teach; a quarter of the draw is even.
_MIXED: dict[str, Any] = {"exponent": 2.0, "pool_ratio": 12.0, "even_share": 0.25}
_PEER = (64,)
_POOL_PEERS = {
    "greso": peer("greso", 4, _PEER, group_size=4),
    "mopps": sizes(
        "mopps", 4, _PEER, strategy="mopps", predictor="beta_table", strategy_settings={"group_size": 4}
    ),
}  # fmt: skip

MIXTURE = Bench(
    name="mixture",
    files="learning_mixture",
    tuning_set="mixture_tuning",
    report_set="mixture_report",
    grids={
        "uniform_reinforce": (
            *at((2.5e-4,), *sizes("uniform_reinforce", 1, (8, 16, 32), estimator=REINFORCE)),
            *at((5e-4,), *sizes("uniform_reinforce", 1, (16, 32, 64), estimator=REINFORCE)),
            *at((1e-3,), *sizes("uniform_reinforce", 1, (32, 64, 128), estimator=REINFORCE)),
        ),
        "ours": (
            *at((2.5e-4, 5e-4), *drawn("ours", REINFORCE, (16,), **_MIXED)),
            *at(_RATES, *drawn("ours", REINFORCE, (32,), **_MIXED)),
            *at(_RATES, *drawn("ours", REINFORCE, (64,), **_MIXED)),
            *at((5e-4,), *drawn("ours", REINFORCE, (32,), **{**_MIXED, "exponent": 1.0})),
            *at((5e-4,), *drawn("ours", REINFORCE, (32,), **{**_MIXED, "exponent": 4.0})),
        ),
        "uniform_rloo": (
            *at(_RATES, *sizes("uniform_rloo", 2, (32,))),
            *at(_RATES, *sizes("uniform_rloo", 4, (64,))),
            *at((5e-4,), *sizes("uniform_rloo", 8, (64,))),
        ),
        **peers(_RATES, _PEER),
        **{name: at(_RATES, *arms) for name, arms in _POOL_PEERS.items()},
    },
    tuning_targets=(0.48, 0.5, 0.53),
    target=0.65,
    other_targets=(0.6,),
    tuning_rollouts=6_144,
    report_rollouts=6_144,
    evaluate_every=256,
    stop_at=0.9,
    reference="uniform_reinforce",
    first=("uniform_reinforce", "ours"),
    shown=("uniform_reinforce", "uniform_rloo", "ours", "oracle"),
    derived={
        "oracle": ("ours", {"predictor": "oracle"}),
        "predicted_baseline": ("ours", evenly(Estimator("predicted_baseline")) | {"predictor": "drifting_gp"}),
        "uniform_dr_grpo": ("uniform_rloo", {"estimator": Estimator("dr_grpo")}),
        "uniform_grpo": ("uniform_rloo", {"estimator": Estimator("grpo")}),
    },
    tuning_seeds=2,
    finalists=3,
)
