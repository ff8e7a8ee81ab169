"""Writes a bench's figures, table and pictures from finished runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.analysis import Curves, accuracy_per_seed, group_runs, spent_per_seed
from benchmarks.learning.bench import Bench
from benchmarks.learning.plots import plot_by_target, plot_curves, plot_ratios
from verl_vip.reporting.style import draw, save_png
from verl_vip.statistics.intervals import Estimate, mean_interval, pooled_ratio_interval, ratio_interval

#: The usual baseline of the literature, a second reference.
RLOO = "uniform_rloo"
PRIORITIZED = "prioritized"
#: Arms with fewer seeds are left out.
LEAST_SEEDS = 3
_BY_TARGET = "prioritized_vs_strongest_uniform_by_target"
#: Distance between the targets of the curve of ratios.
_TARGET_STEP = 0.01


def settled(bench: Bench, curves: Mapping[str, Curves]) -> tuple[float, str]:
    """Return a bench's target and reference; where it states none, they follow from its uniform arms.

    The target is then the highest mean accuracy of a uniform arm after two thirds of a run, rounded down to a
    hundredth, and the reference is the uniform arm with the fewest rollouts to the target.
    """
    uniform = {name: curve for name, curve in curves.items() if name.startswith("uniform")}
    target = bench.target
    if target is None:
        reached = [accuracy_per_seed(curve, curve.horizon * 2 / 3).mean() for curve in uniform.values()]
        target = int(100 * max(reached)) / 100
    return target, bench.reference or _strongest(uniform, target)


def compare(curves: Mapping[str, Curves], bench: Bench) -> dict[str, Any]:
    """Compare every arm with the bench's reference.

    Args:
        curves: All arms, including the bench's reference.
        bench: The bench.
    """
    target, strongest = settled(bench, curves)
    reference = curves[strongest]
    budget = float(spent_per_seed(reference, target, "rollouts")[0].mean())
    result: dict[str, Any] = {
        "reference": strongest,
        "target_accuracy": target,
        "horizon_rollouts": reference.horizon,
        "fixed_budget_rollouts": round(budget),
    }
    for quantity in ("rollouts", "answer_tokens", "all_tokens", "seconds"):
        result[f"{quantity}_to_target_vs_uniform"] = {
            name: _plain(_ratio(curve, reference, target, quantity)) for name, curve in curves.items()
        }
    if RLOO in curves:
        result["rollouts_to_target_vs_uniform_rloo"] = {
            name: _ratio_at(curve, curves[RLOO], target) for name, curve in curves.items()
        }
    result["accuracy_at_fixed_budget_vs_uniform"] = {
        name: _plain(_accuracy_ratio(curve, reference, budget)) for name, curve in curves.items()
    }
    result["rollouts_to_other_targets_vs_uniform"] = {
        str(other): {name: _ratio_at(curve, reference, other) for name, curve in curves.items()}
        for other in bench.other_targets
    }
    if PRIORITIZED in curves:
        result[_BY_TARGET] = {str(each): against_strongest(curves, each) for each in targets(curves, bench)}
    pooled = {name: found for name, curve in curves.items() if (found := curve.on_pool) is not None}
    if len(pooled) == len(curves):
        result["on_the_pools_mixture"] = _on_pool(pooled, bench)
    result["arms"] = {name: _facts(curve, target, budget) for name, curve in curves.items()}
    return result


def targets(curves: Mapping[str, Curves], bench: Bench) -> list[float]:
    """Return the targets of the curve of ratios.

    They are the bench's own, and all multiples of .01 from the accuracy before training up to the highest that at least
    half of the reference's runs and half of those of `prioritized` have reached.

    Args:
        curves: All arms, including the bench's reference and `prioritized`.
        bench: The bench.
    """
    target, strongest = settled(bench, curves)
    both = curves[strongest], curves[PRIORITIZED]
    start = max(float(curve.column(0, "accuracy")[0]) for curve in both)
    found = {target, *bench.other_targets}
    step = int(start / _TARGET_STEP) + 1
    while all(2 * spent_per_seed(one, step * _TARGET_STEP, "rollouts")[1] <= len(one.runs) for one in both):
        found.add(round(step * _TARGET_STEP, 2))
        step += 1
    return sorted(found)


def write(records: Sequence[dict[str, Any]], bench: Bench, folder: Path) -> dict[str, Any]:
    """Write a bench's comparison and its pictures to a folder; return the comparison.

    Args:
        records: Finished jobs of the reported task set.
        bench: The bench.
        folder: The folder of all benches' results.
    """
    curves = {name: curve for name, curve in group_runs(records).items() if len(curve.seeds) >= LEAST_SEEDS}
    if not (bench.reference in curves if bench.reference else any(name.startswith("uniform") for name in curves)):
        raise SystemExit(
            f"fewer than {LEAST_SEEDS} runs of {bench.reference or 'every uniform arm'}, the baseline, have finished; "
            "run more first."
        )
    result = {
        "what": (
            "Ratios to the strongest uniform baseline found (`reference`), and to tuned uniform RLOO where the name "
            "says so. *_to_target_vs_uniform: what uniform spends until the target, or the end of the run if that "
            "comes first, divided by what the arm spends, so that 2 means half of it. "
            "accuracy_at_fixed_budget_vs_uniform: the arm's accuracy divided by uniform's after as many rollouts as "
            "uniform needs for the target. answer_tokens are sampled, all_tokens include each prompt once a step; "
            "seconds are processor time in this loop, evaluation left out. Ratios are of geometric means, with "
            "Welch's 95 % interval on logarithms over the seeds of one base model; means have Student's."
        ),
        **compare(curves, bench),
    }
    (folder / bench.files).mkdir(parents=True, exist_ok=True)
    (folder / f"{bench.files}/ratios.json").write_text(json.dumps(result, indent=1) + "\n")
    labels = {name: bench.labels.get(name, name.replace("_", " ")) for name in curves}
    target = result["target_accuracy"]
    shown = [curves[name] for name in bench.shown if name in curves]
    picture = draw(plot_curves, shown, labels, PRIORITIZED, target, height=3.4)
    save_png(picture, folder / f"{bench.files}/curves.png", "Accuracy against rollouts")
    ratios = {name: Estimate(**value) for name, value in result["rollouts_to_target_vs_uniform"].items()}
    missed = {name: (arm["runs_that_missed_the_target"], len(arm["seeds"])) for name, arm in result["arms"].items()}
    notes = {name: f", {some} of {all_} missed it" for name, (some, all_) in missed.items() if some}
    size = 1.1 + 0.14 * len(ratios)
    picture = draw(plot_ratios, ratios, labels, notes, PRIORITIZED, "times fewer rollouts", height=size)
    save_png(picture, folder / f"{bench.files}/ratios.png", f"Rollouts to {100 * target:.0f} % accuracy")
    if _BY_TARGET in result:
        line = {float(each): row for each, row in result[_BY_TARGET].items()}
        picture = draw(plot_by_target, line, target, height=2.6)
        save_png(picture, folder / f"{bench.files}/targets.png", "Times fewer rollouts, by target")
    return result


def over_base_models(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the gain of `prioritized` over the strongest uniform setting, with an interval over base models.

    Args:
        results: The comparisons of benches that differ in their base model, each at its own target.
    """
    each = [result[_BY_TARGET][str(result["target_accuracy"])]["value"] for result in results]
    return {**_plain(pooled_ratio_interval(each)), "each": each}


def table(result: Mapping[str, Any]) -> str:
    """Return the comparison as lines of text, the best arm first."""
    ratios = result["rollouts_to_target_vs_uniform"]
    lines = [f"{'arm':24s} {'rollouts':>9s} {'fewer':>20s} {'tokens':>7s} {'seconds':>7s} {'missed':>6s}"]
    for name in sorted(ratios, key=lambda key: -ratios[key]["value"]):
        value, arm = Estimate(**ratios[name]), result["arms"][name]
        tokens, seconds = (
            result[f"{kind}_to_target_vs_uniform"][name]["value"] for kind in ("answer_tokens", "seconds")
        )
        lines.append(
            f"{name:24s} {arm['rollouts_to_target']['value']:9.0f} {value:>20.2f} {tokens:7.2f} {seconds:7.2f} "
            f"{arm['runs_that_missed_the_target']:6d}"
        )
    for target, found in result.get(_BY_TARGET, {}).items():
        missed = found["arm_runs_that_missed"], found["reference_runs_that_missed"]
        lines.append(
            f"{PRIORITIZED} to {target} against {found['reference']}: {found['value']:.2f} [{found['low']:.2f}, "
            f"{found['high']:.2f}]; runs that missed it: {missed[0]}, {missed[1]}"
        )
    return "\n".join(lines)


def against_strongest(curves: Mapping[str, Curves], target: float) -> dict[str, Any]:
    """Return the uniform arm with the fewest rollouts to a target, and the ratio of these to those of `prioritized`.

    Args:
        curves: Curves by arm, with `prioritized` and at least one arm whose name starts with "uniform".
        target: An accuracy.
    """
    best = _strongest({name: curve for name, curve in curves.items() if name.startswith("uniform")}, target)
    return {"reference": best, **_ratio_at(curves[PRIORITIZED], curves[best], target)}


def _strongest(curves: Mapping[str, Curves], target: float) -> str:
    """Return the arm with the least geometric mean of rollouts to a target."""
    spent = {name: float(np.log(spent_per_seed(curve, target, "rollouts")[0]).mean()) for name, curve in curves.items()}
    return min(spent, key=lambda name: spent[name])


def _on_pool(curves: Mapping[str, Curves], bench: Bench) -> dict[str, Any]:
    """Return the comparison on held-out prompts in the pool's proportions; the target follows from the uniform arms."""
    target, strongest = settled(replace(bench, target=None, reference=""), curves)
    return {
        "target_accuracy": target,
        "reference": strongest,
        "rollouts_to_target_vs_uniform": {
            name: _ratio_at(curve, curves[strongest], target) for name, curve in curves.items()
        },
        "accuracy_at_end": {
            name: _plain(mean_interval(accuracy_per_seed(curve, float("inf")).tolist()))
            for name, curve in curves.items()
        },
    }


def _ratio(curve: Curves, base: Curves, target: float, quantity: str) -> Estimate:
    if curve is base:
        return Estimate(1.0, 1.0, 1.0)
    arm, even = (spent_per_seed(one, target, quantity)[0].tolist() for one in (curve, base))
    return ratio_interval(even, arm)


def _ratio_at(curve: Curves, base: Curves, target: float) -> dict[str, float]:
    arm, even = (spent_per_seed(one, target, "rollouts")[1] for one in (curve, base))
    missed = {"arm_runs_that_missed": arm, "reference_runs_that_missed": even}
    return {**_plain(_ratio(curve, base, target, "rollouts")), **missed}


def _accuracy_ratio(curve: Curves, base: Curves, rollouts: float) -> Estimate:
    if curve is base:
        return Estimate(1.0, 1.0, 1.0)
    return ratio_interval(*(accuracy_per_seed(one, rollouts).tolist() for one in (curve, base)))


def _facts(curve: Curves, target: float, budget: float) -> dict[str, Any]:
    spent, missed = spent_per_seed(curve, target, "rollouts")
    return {
        "learning_rate": curve.learning_rate,
        "seeds": curve.seeds,
        "rollouts_to_target": _plain(mean_interval(spent.tolist())),
        "rollouts_to_target_by_seed": np.round(spent).astype(int).tolist(),
        "runs_that_missed_the_target": missed,
        "accuracy_at_fixed_budget": _plain(mean_interval(accuracy_per_seed(curve, budget).tolist())),
        "accuracy_at_end": _plain(mean_interval(accuracy_per_seed(curve, float("inf")).tolist())),
    }


def _plain(interval: Estimate) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(interval).items()}
