"""The second benchmark's prompts, trained four times as long: few are left to learn, and predictors have had time."""

from benchmarks.learning.bench import Bench, at, drawn, evenly, sizes
from benchmarks.learning.working import ARCSINE, REINFORCE

WORKING_LONG = Bench(
    name="working_long",
    files="learning_long",
    tuning_set="working_tuning",
    report_set="working_report",
    grids={
        "uniform_reinforce": at((5e-4, 1e-3), *sizes("uniform_reinforce", 1, (16, 32, 64), estimator=REINFORCE)),
        "uniform_rloo": at((1e-3,), *sizes("uniform_rloo", 4, (64,))),
        "ours": (
            *at((5e-4,), *drawn("ours", REINFORCE, (16,), exponent=1.0)),
            *at((5e-4,), *drawn("ours", ARCSINE, (16,), exponent=1.0)),
            *at((5e-4,), *drawn("ours", ARCSINE, (16,), exponent=2.0, pool_ratio=6.0)),
            *at((1e-3,), *drawn("ours", ARCSINE, (32, 64), exponent=2.0, pool_ratio=6.0)),
        ),
        "uniform_16": at((5e-4,), *sizes("uniform_16", 1, (16,), estimator=REINFORCE)),
    },
    tuning_targets=(0.75, 0.8, 0.85),
    target=0.75,
    other_targets=(0.65, 0.7, 0.8),
    tuning_rollouts=16_384,
    report_rollouts=16_384,
    evaluate_every=512,
    stop_at=0.9,
    reference="uniform_reinforce",
    first=("uniform_reinforce", "uniform_as_ours", "uniform_16", "uniform_rloo", "ours", "oracle"),
    shown=("uniform_reinforce", "uniform_rloo", "ours", "oracle"),
    labels={
        "uniform_reinforce": "uniform, REINFORCE",
        "uniform_16": "uniform, REINFORCE, 16 x 1, 5e-4",
        "uniform_as_ours": "uniform, REINFORCE, ours' rate",
        "uniform_rloo": "uniform, RLOO",
    },
    derived={
        "oracle": ("ours", {"predictor": "oracle"}),
        "uniform_as_ours": ("ours", evenly(REINFORCE)),
    },
    tuning_seeds=3,
    finalists=2,
)
