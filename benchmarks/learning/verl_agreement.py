"""Do verl runs of an arm learn as the in-process loop does? Compares what `verl_runs` has logged with new runs here.

    python -m benchmarks.learning.verl_agreement

Both start from the report set's base model with the same settings. verl's accuracy is sampled, four answers to each
of the 216 held-out prompts; the loop's is exact. Writes `results/learning_verl.json` and its picture.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from benchmarks.learning.arms import Arm
from benchmarks.learning.loop import Job, Run
from benchmarks.learning.update import Estimator
from benchmarks.learning.verl_runs import ARMS
from benchmarks.learning.world import World, load_world
from verl_vip.reporting.style import SERIES, draw, save_png

RESULTS = Path(__file__).resolve().parent.parent / "results"
SEEDS = 3
_DRAWN: dict[str, Any] = {
    "strategy": "prioritized",
    "predictor": "drifting_gp",
    "strategy_settings": {"exponent": 1.0},
}
#: The loop's version of each arm that verl can run.
LOOP: dict[str, dict[str, Any]] = {
    "uniform": {"estimator": Estimator("reinforce")},
    "uniform_rloo": {"estimator": Estimator("rloo")},
    "drawn_predicted_baseline": {"estimator": Estimator("predicted_baseline"), **_DRAWN},
    "ours": {"estimator": Estimator("predicted_baseline", score_coupling=1.0), **_DRAWN},
}


def verl_curve(log: Path, rollouts: int) -> list[tuple[int, float]]:
    """Return rollouts and validation accuracy of each validated step of verl's log; a cut last line is left out."""
    points = []
    for line in log.read_text().split("\n")[:-1]:
        record = json.loads(line)
        for name, value in record["data"].items():
            if name.startswith("val-core/") and "/mean@" in name:
                points.append((record["step"] * rollouts, float(value)))
    return points


def loop_curves(arm: str, world: World, end: int) -> list[list[tuple[int, float]]]:
    """Return rollouts and accuracy of the in-process loop, one list a seed."""
    _, prompts, group, rate, _ = ARMS[arm]
    settings = Arm(arm, prompts=prompts, rollouts=prompts * group, **LOOP[arm])
    every = 5 * prompts * group
    return [
        [
            (point.rollouts, point.accuracy)
            for point in Run(Job(settings, "report", rate, k, end, every, 1.0), world).train()
        ]
        for k in range(SEEDS)
    ]


def plot(curves: Mapping[str, Mapping[str, Any]], ax: Axes) -> None:
    """Draw the loop's runs as lines and verl's as dots."""
    for colour, (name, curve) in zip(SERIES, curves.items(), strict=False):
        for seed, points in enumerate(curve["loop"]):
            x, y = zip(*points, strict=True)
            label = f"{name.replace('_', ' ')}, loop" if seed == 0 else None
            ax.plot(x, y, color=colour, alpha=0.7, linewidth=1, label=label)
        x, y = zip(*curve["verl"], strict=True)
        error = 2 * np.sqrt(np.array(y) * (1 - np.array(y)) / (4 * 216))
        ax.errorbar(x, y, error, color=colour, marker="o", linestyle="none", label=f"{name.replace('_', ' ')}, verl")
    ax.set_xlabel("rollouts")
    ax.set_ylabel("accuracy on held-out prompts")
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.legend(loc="lower right")


def differences(
    verl: Sequence[tuple[int, float]], loop: Sequence[Sequence[tuple[int, float]]]
) -> list[dict[str, float]]:
    """Return at each of verl's points its accuracy, and the loop's mean, least and largest over seeds."""
    found = []
    for rollouts, accuracy in verl:
        there = [float(np.interp(rollouts, *zip(*points, strict=True))) for points in loop]
        spread = {"loop": float(np.mean(there)), "loop_least": min(there), "loop_largest": max(there)}
        found.append({"rollouts": rollouts, "verl": accuracy, **spread})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/learning"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = load_world(options.cache, "report")
    curves: dict[str, dict[str, Any]] = {}
    for arm, (_, prompts, group, _, _) in ARMS.items():
        log = options.cache / "verl" / f"{arm}-seed0.jsonl"
        verl = verl_curve(log, prompts * group) if log.exists() else []
        if verl:
            loop = loop_curves(arm, world, verl[-1][0])
            curves[arm] = {"verl": verl, "loop": loop, "at_verls_points": differences(verl, loop)}
            print(arm, json.dumps(curves[arm]["at_verls_points"], indent=1))
    if not curves:
        raise SystemExit("no verl run has been logged; run `python -m benchmarks.learning.verl_runs ARM` first.")
    (RESULTS / "learning_verl.json").write_text(json.dumps(curves, indent=1) + "\n")
    save_png(draw(plot, curves, height=3.2), RESULTS / "learning_verl.png", "verl and the in-process loop")


if __name__ == "__main__":
    main()
