"""Writes a bench's figures, table and pictures from finished runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.analysis import (
    Curves,
    Interval,
    accuracy_per_seed,
    bootstrap_mean,
    group_runs,
    paired_ratio,
    spent_per_seed,
)
from benchmarks.learning.bench import Bench
from benchmarks.learning.plots import plot_curves, plot_ratios
from verl_vip.reporting.style import draw, save_png

#: The usual baseline of the literature, a second reference.
RLOO = "uniform_rloo"
PRIORITIZED = "prioritized"
#: Arms with fewer seeds are left out.
LEAST_SEEDS = 3


def paired(curve: Curves, base: Curves) -> tuple[Curves, Curves]:
    """Return an arm and the baseline, restricted to their common seeds."""
    shared = sorted(set(curve.seeds) & set(base.seeds))

    def on_shared(one: Curves) -> Curves:
        return Curves(one.name, one.learning_rate, shared, [one.runs[one.seeds.index(seed)] for seed in shared])

    return on_shared(curve), on_shared(base)


def compare(curves: Mapping[str, Curves], bench: Bench) -> dict[str, Any]:
    """Compare every arm with the bench's reference, on their common seeds.

    Args:
        curves: All arms, including the bench's reference.
        bench: The bench.
    """
    target, reference = bench.target, curves[bench.reference]
    budget = float(spent_per_seed(reference, target, "rollouts")[0].mean())
    result: dict[str, Any] = {
        "reference": bench.reference,
        "target_accuracy": target,
        "fixed_budget_rollouts": round(budget),
    }
    for quantity in ("rollouts", "answer_tokens", "all_tokens", "seconds"):
        ratios = {}
        for name, curve in curves.items():
            arm, base = (spent_per_seed(one, target, quantity)[0] for one in paired(curve, reference))
            ratios[name] = _plain(paired_ratio(base, arm))
        result[f"{quantity}_to_target_vs_uniform"] = ratios
    if RLOO in curves:
        result["rollouts_to_target_vs_uniform_rloo"] = {
            name: _ratio_at(curve, curves[RLOO], target) for name, curve in curves.items()
        }
    accuracy = {}
    for name, curve in curves.items():
        arm, base = (accuracy_per_seed(one, budget) for one in paired(curve, reference))
        accuracy[name] = _plain(paired_ratio(arm, base))
    result["accuracy_at_fixed_budget_vs_uniform"] = accuracy
    result["rollouts_to_other_targets_vs_uniform"] = {
        str(other): {name: _ratio_at(curve, reference, other) for name, curve in curves.items()}
        for other in bench.other_targets
    }
    result["prioritized_vs_strongest_uniform_by_target"] = {
        str(each): against_strongest(curves, each)
        for each in sorted({target, *bench.other_targets})
        if PRIORITIZED in curves
    }
    result["arms"] = {name: _facts(curve, target, budget) for name, curve in curves.items()}
    return result


def write(records: Sequence[dict[str, Any]], bench: Bench, folder: Path) -> dict[str, Any]:
    """Write a bench's comparison and its pictures to a folder; return the comparison.

    Args:
        records: Finished jobs of the reported task set.
        bench: The bench.
        folder: The folder of all benches' results.
    """
    curves = {name: curve for name, curve in group_runs(records).items() if len(curve.seeds) >= LEAST_SEEDS}
    if bench.reference not in curves:
        raise SystemExit(
            f"fewer than {LEAST_SEEDS} runs of the uniform baseline {bench.reference} have finished; run more first."
        )
    result = {
        "what": (
            "Ratios to the strongest uniform baseline found (`reference`), and to tuned uniform RLOO where the name "
            "says so. *_to_target_vs_uniform: what uniform spends until the target "
            "divided by what the arm spends, so that 2 means half of it. accuracy_at_fixed_budget_vs_uniform: the "
            "arm's accuracy divided by uniform's after as many rollouts as uniform needs for the target. answer_tokens "
            "are sampled, all_tokens include each prompt once a step; seconds are processor time in this loop, "
            "evaluation left out. 95 % bootstrap intervals over seeds."
        ),
        **compare(curves, bench),
    }
    (folder / bench.files).mkdir(parents=True, exist_ok=True)
    (folder / f"{bench.files}/ratios.json").write_text(json.dumps(result, indent=1) + "\n")
    labels = {name: bench.labels.get(name, name.replace("_", " ")) for name in curves}
    shown = [curves[name] for name in bench.shown if name in curves]
    picture = draw(plot_curves, shown, labels, PRIORITIZED, bench.target, height=3.4)
    save_png(picture, folder / f"{bench.files}/curves.png", "Accuracy against rollouts")
    ratios = {name: Interval(**value) for name, value in result["rollouts_to_target_vs_uniform"].items()}
    picture = draw(plot_ratios, ratios, labels, PRIORITIZED, "times fewer rollouts", height=1.1 + 0.14 * len(ratios))
    save_png(picture, folder / f"{bench.files}/ratios.png", f"Rollouts to {100 * bench.target:.0f} % accuracy")
    return result


def table(result: Mapping[str, Any]) -> str:
    """Return the comparison as lines of text, the best arm first."""
    ratios = result["rollouts_to_target_vs_uniform"]
    lines = [f"{'arm':24s} {'rollouts':>9s} {'fewer':>20s} {'tokens':>7s} {'seconds':>7s} {'missed':>6s}"]
    for name in sorted(ratios, key=lambda key: -ratios[key]["mean"]):
        value, arm = ratios[name], result["arms"][name]
        interval = f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
        tokens, seconds = (
            result[f"{kind}_to_target_vs_uniform"][name]["mean"] for kind in ("answer_tokens", "seconds")
        )
        lines.append(
            f"{name:24s} {arm['rollouts_to_target']['mean']:9.0f} {interval:>20s} {tokens:7.2f} {seconds:7.2f} "
            f"{arm['runs_that_missed_the_target']:6d}"
        )
    for target, found in result["prioritized_vs_strongest_uniform_by_target"].items():
        missed = found["arm_runs_that_missed"], found["reference_runs_that_missed"]
        lines.append(
            f"{PRIORITIZED} to {target} against {found['reference']}: {found['mean']:.2f} [{found['low']:.2f}, "
            f"{found['high']:.2f}]; runs that missed it: {missed[0]}, {missed[1]}"
        )
    return "\n".join(lines)


def against_strongest(curves: Mapping[str, Curves], target: float) -> dict[str, Any]:
    """Return the uniform arm with the fewest rollouts to a target, and the ratio of these to those of `prioritized`.

    Args:
        curves: Curves by arm, with `prioritized` and at least one arm whose name starts with "uniform".
        target: An accuracy.
    """
    spent = {
        name: float(spent_per_seed(curve, target, "rollouts")[0].mean())
        for name, curve in curves.items()
        if name.startswith("uniform")
    }
    best = min(spent, key=lambda name: spent[name])
    return {"reference": best, **_ratio_at(curves[PRIORITIZED], curves[best], target)}


def _ratio_at(curve: Curves, base: Curves, target: float) -> dict[str, float]:
    arm, even = (spent_per_seed(one, target, "rollouts") for one in paired(curve, base))
    missed = {"arm_runs_that_missed": arm[1], "reference_runs_that_missed": even[1]}
    return {**_plain(paired_ratio(even[0], arm[0])), **missed}


def _facts(curve: Curves, target: float, budget: float) -> dict[str, Any]:
    spent, missed = spent_per_seed(curve, target, "rollouts")
    return {
        "learning_rate": curve.learning_rate,
        "seeds": curve.seeds,
        "rollouts_to_target": _plain(bootstrap_mean(spent)),
        "rollouts_to_target_by_seed": np.round(spent).astype(int).tolist(),
        "runs_that_missed_the_target": missed,
        "accuracy_at_fixed_budget": _plain(bootstrap_mean(accuracy_per_seed(curve, budget))),
        "accuracy_at_end": _plain(bootstrap_mean(accuracy_per_seed(curve, float("inf")))),
    }


def _plain(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(interval).items()}
