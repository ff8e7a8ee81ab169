"""Benches against what needs no prediction and against peers' rules: `comparators`, `revisited` and `hidden`.

All have one rollout per prompt wherever a rule allows it. In `comparators`, nearly every prompt is new; in
`revisited`, whose pool is a ninth of that size and whose runs are twice as long, an even draw meets every prompt three
times in groups of four, and 13 times with single rollouts. `hidden` has as many visits, and balancing cannot help:
three quarters of each family's prompts cannot be learned, and neither labels nor wording say which. Only a prompt's own
outcomes do. Each bench is run with three base models, which share one tuning set.

Rules of others that compare the rollouts of one prompt have no version with one rollout: DAPO, GRESO, Knapsack RL,
VIGOR, Reinforce-Ada, Pilot-Commit, PODS, DARS and HORA. They are run in groups, as on `mixture`. MoPPS and the prompt
half of Dynamic Pruning decide on prompts alone. So does CERO, but with single rollouts its price rises until a step
requests none, which a training step does not allow.

Held-out prompts are scored twice: those that can be learned, all families alike, and all families in the pool's
proportions. Targets and reference follow from the uniform arms by the rules of `tuning.ruled_targets` and
`report.settled`, so tune and run these first:

    python -m benchmarks.learning tune --bench comparators --arms uniform_reinforce
"""

from dataclasses import replace
from typing import Any

from benchmarks.learning.bench import Bench, Setting, at, drawn, evenly, sizes
from benchmarks.learning.mixture import MIXTURE
from benchmarks.learning.task_sets import BASES, base_number
from benchmarks.learning.update import Estimator
from benchmarks.learning.working import REINFORCE

#: Candidates for each prompt of a step, for every strategy that chooses among candidates and lets one set it.
_POOL = 12.0
_MIXED: dict[str, Any] = {"pool_ratio": _POOL, "even_share": 0.25}


def _ours(name: str, labels: str = "", **settings: Any) -> tuple[Setting, ...]:
    """Return the grid of a draw by expected reward variance: step sizes, rates and exponents."""
    grid = {**_MIXED, **settings}
    return (
        *at((2.5e-4,), *drawn(name, REINFORCE, (8,), labels, **{"exponent": 4.0, **grid})),
        *at((5e-4,), *drawn(name, REINFORCE, (16, 32), labels, **{"exponent": 4.0, **grid})),
        *at((5e-4, 1e-3), *drawn(name, REINFORCE, (32,), labels, **{"exponent": 2.0, **grid})),
        *at((1e-3,), *drawn(name, REINFORCE, (64,), labels, **{"exponent": 2.0, **grid})),
    )


def _without_prediction(name: str, strategy: str, labels: str = "", **settings: Any) -> tuple[Setting, ...]:
    """Return the grid of a draw that is even over groups and uses no prediction."""
    grid = {"strategy": strategy, "labels": labels, "strategy_settings": settings, "estimator": REINFORCE}
    return (
        *at((2.5e-4,), *sizes(name, 1, (8,), **grid)),
        *at((5e-4,), *sizes(name, 1, (16, 32, 64), **grid)),
        *at((1e-3,), *sizes(name, 1, (32, 64), **grid)),
    )


def _rule(name: str, strategy: str, predictor: str, **settings: Any) -> tuple[Setting, ...]:
    """Return the grid of another author's rule with one rollout per prompt."""
    grid = {"strategy": strategy, "predictor": predictor, "strategy_settings": settings, "estimator": REINFORCE}
    return (
        *at((2.5e-4,), *sizes(name, 1, (8,), **grid)),
        *at((5e-4,), *sizes(name, 1, (16, 32, 64), **grid)),
        *at((1e-3,), *sizes(name, 1, (32, 64), **grid)),
    )


def _with_own_weights(name: str) -> tuple[Setting, ...]:
    """Return the grid of a strategy of `mixture` with the prompt weights of its paper, which are those of rows."""
    rows = Estimator(prompt_weight="rows")
    own = f"{name}_own_weights"
    return tuple((replace(arm, name=own, estimator=rows), rate) for arm, rate in MIXTURE.grids[name])


_GRIDS = {
    "uniform_reinforce": MIXTURE.grids["uniform_reinforce"],
    "uniform_64": MIXTURE.grids["uniform_64"],
    "uniform_32": MIXTURE.grids["uniform_32"],
    "uniform_rloo": MIXTURE.grids["uniform_rloo"],
    "balanced_families": _without_prediction("balanced_families", "balanced", "family", pool_ratio=_POOL),
    "balanced_sources": _without_prediction("balanced_sources", "balanced", "source", pool_ratio=_POOL),
    "balanced_clusters": _without_prediction("balanced_clusters", "balanced_clusters", pool_ratio=_POOL),
    "prioritized": _ours("prioritized"),
    "prioritized_in_families": _ours("prioritized_in_families", "family", balance="labels"),
    "prioritized_in_sources": _ours("prioritized_in_sources", "source", balance="labels"),
    "prioritized_in_clusters": _ours("prioritized_in_clusters", balance="clusters"),
    # The objective of uniform sampling: inverse probabilities as weights, with the exponent of least variance.
    "prioritized_corrected": (
        *_ours("prioritized_corrected", correction=1.0, exponent=0.5)[:4],
        *at((1e-3,), *drawn("prioritized_corrected", REINFORCE, (64,), correction=1.0, exponent=0.5, **_MIXED)),
    ),
    # No exponent and no even share to tune.
    "thompson": _rule("thompson", "thompson", "drifting_gp", pool_ratio=_POOL),
    "mopps_one": _rule("mopps_one", "mopps", "beta_table", group_size=1),
    "mopps_one_drifting_gp": _rule("mopps_one_drifting_gp", "mopps", "drifting_gp", group_size=1),
    "pruned_prompts": _rule("pruned_prompts", "dynamic_pruning", "beta_table", rollout_pruning=0.0),
    "pruned_prompts_drifting_gp": _rule(
        "pruned_prompts_drifting_gp", "dynamic_pruning", "drifting_gp", rollout_pruning=0.0
    ),
    "knapsack_own_weights": _with_own_weights("knapsack"),
    "vigor_own_weights": _with_own_weights("vigor"),
    "greso": MIXTURE.grids["greso"],
}

_FIRST = replace(
    MIXTURE,
    name="comparators",
    files="comparators",
    grids=_GRIDS,
    tuning_targets=None,
    target=None,
    other_targets=(),
    reference="",
    first=("uniform_reinforce", "uniform_64", "uniform_32", "balanced_families", "prioritized"),
    shown=("uniform_64", "balanced_families", "prioritized", "prioritized_in_families", "oracle"),
    labels={
        "uniform_reinforce": "uniform, REINFORCE, as tuned",
        "uniform_32": "uniform, REINFORCE, 32 x 1",
        "uniform_64": "uniform, REINFORCE, 64 x 1",
        "uniform_rloo": "uniform, RLOO",
        "mopps_one": "MoPPS' rule",
        "mopps_one_drifting_gp": "MoPPS' rule, our predictor",
    },
    derived={
        "oracle": ("prioritized", {"predictor": "oracle"}),
        "prioritized_beta_table": ("prioritized", {"predictor": "beta_table"}),
        "predicted_baseline": ("prioritized", {**evenly(Estimator("predicted_baseline")), "predictor": "drifting_gp"}),
    },
    tuning_seeds=2,
    report_seeds=8,
    finalists=2,
)


def _each_base(bench: Bench) -> tuple[Bench, ...]:
    """Return a bench with each of the base models; only the first is tuned."""
    return tuple(
        replace(
            bench,
            name=bench.name if number == 1 else f"{bench.name}_{number}",
            files=bench.files if number == 1 else f"{bench.files}_{number}",
            report_set=base_number(bench.report_set, number),
            tuned_by=bench.files,
        )
        for number in BASES
    )


COMPARATORS = _each_base(_FIRST)
_LONGER = replace(_FIRST, tuning_rollouts=12_288, report_rollouts=12_288)
REVISITED = _each_base(
    replace(
        _LONGER,
        name="revisited",
        files="revisited",
        tuning_set="mixture_tuning_small",
        report_set="mixture_report_small",
    )
)
HIDDEN = _each_base(
    replace(_LONGER, name="hidden", files="hidden", tuning_set="hidden_tuning", report_set="hidden_report")
)
