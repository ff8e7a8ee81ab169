"""The bench `working_long`: the prompts of `working`, trained four times as long."""

from dataclasses import replace
from typing import Any

from benchmarks.learning.bench import Bench, at, drawn, peer, sizes, vip
from benchmarks.learning.update import Estimator
from benchmarks.learning.working import ARCSINE, REINFORCE
from verl_vip.advantages.utility import UtilityName


def _rare(utility: UtilityName, floor: float = 0.02) -> Estimator:
    """Return REINFORCE with larger weights for successes that were predicted to be rarer."""
    return replace(REINFORCE, utility=utility, utility_floor=floor)


_LOG = _rare("log_success")
#: Six candidates for each sampled prompt. A quarter of the draw is even, so that prompts that get worse are noticed.
_MIXED: dict[str, Any] = {"exponent": 2.0, "pool_ratio": 6.0, "even_share": 0.25}

WORKING_LONG = Bench(
    name="working_long",
    files="long",
    tuning_set="working_tuning",
    report_set="working_report",
    grids={
        "uniform_reinforce": (
            *at((5e-4, 1e-3), *sizes("uniform_reinforce", 1, (16, 32, 64), estimator=REINFORCE)),
            *at((5e-4, 1e-3), *sizes("uniform_reinforce", 1, (8, 128), estimator=REINFORCE)),
            *at((2e-3,), *sizes("uniform_reinforce", 1, (64, 128), estimator=REINFORCE)),
        ),
        "uniform_rloo": at((1e-3,), *sizes("uniform_rloo", 4, (64,))),
        "prioritized": (
            *at((5e-4,), *drawn("prioritized", REINFORCE, (16,), exponent=1.0)),
            *at((5e-4,), *drawn("prioritized", ARCSINE, (16,), exponent=1.0)),
            *at((5e-4,), *drawn("prioritized", ARCSINE, (16,), exponent=2.0, pool_ratio=6.0)),
            *at((1e-3,), *drawn("prioritized", ARCSINE, (32, 64), exponent=2.0, pool_ratio=6.0)),
            # Added after the settings above were reported: larger weights for rare successes, and a partly even draw.
            *at((5e-4,), *drawn("prioritized", _LOG, (16,), **_MIXED)),
            *at((5e-4,), *drawn("prioritized", _rare("log_success", 0.1), (16,), **_MIXED)),
            *at((5e-4,), *drawn("prioritized", _rare("sqrt_success"), (16,), **_MIXED)),
            *at((5e-4,), *drawn("prioritized", _LOG, (16,), **{**_MIXED, "even_share": 0.5})),
            *at((5e-4,), *drawn("prioritized", _LOG, (16,), **{**_MIXED, "even_share": 0.0})),
            *at((5e-4,), *drawn("prioritized", _LOG, (16,), exponent=1.0)),
            *at((1e-3,), *drawn("prioritized", _LOG, (32, 64), **_MIXED)),
            *at((1e-3,), *drawn("prioritized", _rare("sqrt_success"), (32,), **_MIXED)),
        ),
        # Settings that were best or close at some length or target, and are reported too.
        "uniform_8": at((5e-4,), *sizes("uniform_8", 1, (8,), estimator=REINFORCE)),
        "uniform_16": at((5e-4,), *sizes("uniform_16", 1, (16,), estimator=REINFORCE)),
        "uniform_32": at((1e-3,), *sizes("uniform_32", 1, (32,), estimator=REINFORCE)),
        "uniform_64": at((1e-3,), *sizes("uniform_64", 1, (64,), estimator=REINFORCE)),
        # As tuned for the bench `working`.
        "uniform_rloo_16": at((1e-3,), *sizes("uniform_rloo_16", 2, (16,))),
        "dapo": at((1e-3,), *peer("dapo", 4, (16,), group_size=4)),
        "knapsack": at((5e-4,), *sizes("knapsack", 4, (16,), strategy="knapsack", predictor="last_seen", lower=2)),
        "vip_paper": at((1e-3,), *vip("vip_paper", rollouts=(16,))),
        "vip_released_code": at((1e-3,), *vip("vip_released_code", rollouts=(16,))),
        "vigor": at((1e-3,), *peer("vigor", 8, (16,))),
        "reinforce_ada": at((1e-3,), *peer("reinforce_ada", 4, (16,), round_size=4)),
        "pilot_commit": at((1e-3,), *peer("pilot_commit", 4, (64,), pilot=2, commit=6)),
        "pods": at((5e-4,), *peer("pods", 8, (16,))),
        "random_permutation": at((1e-3,), *vip("random_permutation", "drifting_gp", rollouts=(16,))),
        # The settings that the first round chose and reported.
        "prioritized_first_round": at(
            (1e-3,), *drawn("prioritized_first_round", ARCSINE, (32,), exponent=2.0, pool_ratio=6.0)
        ),
    },
    tuning_targets=(0.75, 0.8, 0.85),
    target=0.75,
    other_targets=(0.65, 0.7, 0.8),
    tuning_rollouts=16_384,
    report_rollouts=16_384,
    evaluate_every=512,
    stop_at=0.9,
    # The strongest of five uniform settings on the report set itself, which works against `prioritized`.
    reference="uniform_64",
    first=("uniform_reinforce", "uniform_8", "uniform_16", "uniform_64", "prioritized", "oracle"),
    shown=("uniform_64", "uniform_rloo", "prioritized", "oracle"),
    labels={
        "uniform_reinforce": "uniform, REINFORCE, as tuned",
        "uniform_8": "uniform, REINFORCE, 8 x 1, 5e-4",
        "uniform_16": "uniform, REINFORCE, step and rate of prioritized",
        "uniform_32": "uniform, REINFORCE, 32 x 1, 1e-3",
        "uniform_64": "uniform, REINFORCE",
        "uniform_rloo": "uniform, RLOO",
        "uniform_rloo_16": "uniform, RLOO, 8 x 2, 1e-3",
    },
    derived={
        "oracle": ("prioritized", {"predictor": "oracle"}),
        "oracle_first_round": ("prioritized_first_round", {"predictor": "oracle"}),
        "prioritized_without_draw": ("prioritized", {"strategy": "uniform", "strategy_settings": {}}),
        "prioritized_without_weights": ("prioritized", {"estimator": REINFORCE}),
        "prioritized_without_even_share": ("prioritized", {"strategy_settings": {**_MIXED, "even_share": 0.0}}),
    },
    tuning_seeds=3,
    report_seeds=20,
    finalists=4,
)
