"""Agreement of verl with the in-process loop: compares the logs of `verl_runs` with new runs of the loop.

    python -m benchmarks.learning.verl_agreement

Both start from the report set's base model with the same settings, but the order of prompts differs. The script
compares the mean reward of each step's rollouts, which verl logs. The mean over an arm's verl runs, mostly a single
one, is compared with the spread of many runs of the loop. Writes `verl.json` and its picture to the results. `--bench`
chooses another bench.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.bench import Bench
from benchmarks.learning.benches import BENCHES, MAIN
from benchmarks.learning.loop import Run, RunPlan
from benchmarks.learning.update import Estimator
from benchmarks.learning.verl_runs import ARMS
from benchmarks.learning.world import TaskWorld, load_world
from verl_vip.reporting.labels import label_text
from verl_vip.reporting.style import SERIES, draw, save_png

RESULTS = Path(__file__).resolve().parent.parent / "results" / "learning"
SEEDS = 20
#: The least number of steps for a comparison.
LEAST_STEPS = 5
_DRAWN: dict[str, Any] = {"strategy": "prioritized", "predictor": "drifting_gp"}
#: By bench, the loop's settings of each arm of `verl_runs`.
LOOP: dict[str, dict[str, dict[str, Any]]] = {
    "short_answers": {
        "uniform": {"estimator": Estimator("reinforce")},
        "uniform_rloo": {"estimator": Estimator("rloo")},
        "prioritized": {
            "estimator": Estimator("predicted_baseline", score_coupling=1.0),
            "strategy_settings": {"exponent": 1.0},
            **_DRAWN,
        },
    },
    "working": {
        "uniform": {"estimator": Estimator("reinforce")},
        "uniform_rloo": {"estimator": Estimator("rloo")},
        "prioritized": {
            "estimator": Estimator("reinforce", utility="arcsine", utility_floor=0.2),
            "strategy_settings": {"exponent": 2.0, "pool_ratio": 6.0},
            **_DRAWN,
        },
    },
    "lopsided": {
        "uniform": {"estimator": Estimator("reinforce")},
        "uniform_rloo": {"estimator": Estimator("rloo")},
        "prioritized": {
            "estimator": Estimator("reinforce"),
            "strategy_settings": {"exponent": 2.0, "pool_ratio": 6.0, "even_share": 0.25},
            **_DRAWN,
        },
    },
    "mixture": {
        "uniform": {"estimator": Estimator("reinforce")},
        "uniform_rloo": {"estimator": Estimator("rloo")},
        "prioritized": {
            "estimator": Estimator("reinforce"),
            "strategy_settings": {"exponent": 4.0, "pool_ratio": 12.0, "even_share": 0.25},
            **_DRAWN,
        },
    },
}


def verl_rewards(logs: Sequence[Path]) -> NDArray[np.float64]:
    """Return the mean reward of each step in verl's logs, `runs x steps`, for the steps that all of them have.

    An incomplete last line is left out.
    """
    runs = [[json.loads(line) for line in log.read_text().split("\n")[:-1]] for log in logs]
    steps = min(map(len, runs), default=0)
    return np.array([[float(record["data"]["critic/score/mean"]) for record in run[:steps]] for run in runs])


def loop_rewards(bench: Bench, arm: str, world: TaskWorld, steps: int) -> NDArray[np.float64]:
    """Return the mean reward of each step of the loop, `SEEDS x steps`."""
    _, prompts, group, rate, _ = ARMS[bench.name][arm]
    size = prompts * group
    settings = TrainingArm(arm, prompts=prompts, rollouts=size, **LOOP[bench.name][arm])
    lengths = steps * size, steps * size, 1.0
    runs = [Run(RunPlan(settings, bench.report_set, rate, seed, *lengths), world) for seed in range(SEEDS)]
    for run in runs:
        run.train()
    return np.array([run.rewards for run in runs])


def compare(verl: NDArray[np.float64], loop: NDArray[np.float64]) -> dict[str, Any]:
    """Return verl's mean reward, and the mean and standard deviation of the loop's, in both halves of the steps.

    The standard deviation is that of one run. `z` is the distance of verl's mean from the loop's mean, in standard
    deviations of a mean over the same number of runs.

    Args:
        verl: Mean reward of each step, `runs x steps`.
        loop: The same for the loop.
    """
    runs, steps = verl.shape
    half = steps // 2
    found: dict[str, Any] = {"steps": steps, "runs": runs, "verl": verl.mean(0).tolist(), "loop": loop.mean(0).tolist()}
    for name, part in (("first_half", slice(half)), ("second_half", slice(half, None))):
        each = loop[:, part].mean(1)
        mine = float(verl[:, part].mean())
        mean, deviation = float(each.mean()), float(each.std(ddof=1))
        z = (mine - mean) / (deviation / runs**0.5)
        found[name] = {"verl": mine, "loop": mean, "loop_deviation": deviation, "z": z}
    found["band"] = np.percentile(loop, [2.5, 97.5], axis=0).tolist()
    return found


def plot(arms: Mapping[str, Mapping[str, Any]], ax: Axes) -> None:
    """Plot the loop's mean and 95 % of its seeds at each step, and verl's run as dots."""
    for colour, (name, found) in zip(SERIES, arms.items(), strict=False):
        steps = np.arange(1, found["steps"] + 1)
        ax.fill_between(steps, *found["band"], color=colour, alpha=0.12, linewidth=0)
        ax.plot(steps, found["loop"], color=colour, label=label_text(f"{name.replace('_', ' ')}, loop", 130))
        label = label_text(f"{name.replace('_', ' ')}, verl", 130)
        ax.plot(steps, found["verl"], color=colour, marker="o", linestyle="none", label=label)
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("mean reward of the step")
    ax.set_ylim(0, 1.1 + 0.15 * len(arms))  # space for the legend
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.legend(loc="upper left", ncols=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/learning"))
    parser.add_argument("--bench", choices=sorted(ARMS), default=MAIN.name)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = BENCHES[options.bench]
    world = load_world(options.cache, bench.report_set)
    path = RESULTS / f"{bench.files}/verl.json"
    found = json.loads(path.read_text()) if path.exists() else {}  # an arm without a log keeps its figures
    for arm in ARMS[bench.name]:
        verl = verl_rewards(sorted((options.cache / "verl" / bench.name).glob(f"{arm}-seed*.jsonl")))
        if verl.size and verl.shape[1] >= LEAST_STEPS:
            found[arm] = compare(verl, loop_rewards(bench, arm, world, verl.shape[1]))
            print(arm, found[arm]["steps"], json.dumps([found[arm][half] for half in ("first_half", "second_half")]))
    arms = {name: found[name] for name in ARMS[bench.name] if name in found}
    if not arms:
        raise SystemExit("no verl run has been logged; run `python -m benchmarks.learning.verl_runs ARM` first.")
    path.write_text(json.dumps(arms, indent=1) + "\n")
    save_png(draw(plot, arms, height=3.2), RESULTS / f"{bench.files}/verl.png", "verl and the in-process loop")


if __name__ == "__main__":
    main()
