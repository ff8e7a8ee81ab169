"""The gain on the mixture, by the share of prompts that give a gradient and by the length of free text.

    python -m benchmarks.learning.sensitivity run --workers 2     # 5 seeds; continues if it was interrupted
    python -m benchmarks.learning.sensitivity report

Settings and target are those of the bench `mixture`; nothing is tuned for a pool. Only the pool with shorter text,
whose base model starts at another accuracy, has a target of its own. Each pool's reference is the uniform setting with
the fewest rollouts. The figures of the mixture itself come from its own runs.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from benchmarks.learning.analysis import group_runs
from benchmarks.learning.benches import RESULTS, tuned_jobs
from benchmarks.learning.loop import RunPlan, identity
from benchmarks.learning.mixture import MIXTURE
from benchmarks.learning.report import PRIORITIZED, against_strongest
from benchmarks.learning.runner import read_results, run_jobs
from benchmarks.learning.task_sets import OTHER_COPIES, TASK_SETS, mixture_with
from benchmarks.learning.world import draw_tasks
from verl_vip.reporting.style import INK, SERIES, draw, save_png

ARMS = ("uniform_64", "uniform_reinforce", PRIORITIZED)
#: The pool with shorter text, and its target. By the mixture's rule, the target would be .9, where runs end.
SHORT, SHORT_TARGET = "mixture_report_short", 0.88
#: Longer runs for the pool with the smallest share of prompts that give a gradient.
SPARSE, SPARSE_ROLLOUTS = mixture_with(*OTHER_COPIES[0]), 12_288
RUNS = RESULTS / "sensitivity" / "runs.jsonl"
#: Number of seeds of the mixture's own runs.
MIXTURE_SEEDS = 12


@dataclass(frozen=True)
class Pool:
    """A pool and its result.

    Attributes:
        name: The name of its task set.
        prompts: Number of prompts.
        can_teach: The share of prompts that are neither from the easy source nor from the one that cannot be learned.
        free_letters: Number of free letters in an answer.
        start: Accuracy of the base model on the held-out prompts.
        target: The target accuracy.
        gain: The result of `against_strongest`.
    """

    name: str
    prompts: int
    can_teach: float
    free_letters: int
    start: float
    target: float
    gain: dict[str, Any]


def jobs(seeds: int) -> list[RunPlan]:
    """Return the runs on all pools except the mixture itself, seed by seed."""
    pools, tuned = [SHORT, *(mixture_with(*copies) for copies in OTHER_COPIES)], tuned_jobs(MIXTURE, seeds, ARMS)
    return [
        replace(
            job,
            task_set=pool,
            max_rollouts=SPARSE_ROLLOUTS if pool == SPARSE else MIXTURE.report_rollouts,
            evaluate_every=MIXTURE.evaluate_every // 2,
            stop_at=MIXTURE.stop_at if pool == SHORT else round(MIXTURE.target + 0.02, 2),
        )
        for seed in range(seeds)
        for pool in pools
        for job in tuned
        if job.seed == seed
    ]


def read_off(records: Sequence[Mapping[str, Any]]) -> list[Pool]:
    """Return the result of each pool on which all arms have finished, long texts and small shares first."""
    by_pool: dict[str, list[Any]] = {}
    for record in records:
        by_pool.setdefault(record["job"]["task_set"], []).append(record)
    found = []
    for name, runs in by_pool.items():
        curves = group_runs(runs)
        if set(curves) < set(ARMS):
            continue
        train, _ = draw_tasks(name)
        # Families with copies are the easy ones and those that cannot be learned.
        share = sum(task.family not in TASK_SETS[name].copies for task in train) / len(train)
        start = float(curves[PRIORITIZED].column(0, "accuracy")[0])
        target = SHORT_TARGET if name == SHORT else MIXTURE.target
        gain = against_strongest(curves, target)
        letters = TASK_SETS[name].trailing
        found.append(Pool(name, len(train), round(share, 3), letters, round(start, 3), target, gain))
    return sorted(found, key=lambda pool: (-pool.free_letters, pool.can_teach))


def plot(pools: Sequence[Pool], ax: Axes) -> None:
    """Plot the gain against the share of prompts that give a gradient, with one line for each length of free text."""
    ax.axhline(1, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    for place, letters in enumerate(sorted({pool.free_letters for pool in pools}, reverse=True)):
        line = [pool for pool in pools if pool.free_letters == letters]
        x = [pool.can_teach * 1.06**place for pool in line]  # side by side
        means = [pool.gain["value"] for pool in line]
        colour, marker = SERIES[place], "os"[place % 2]
        ax.vlines(x, [pool.gain["low"] for pool in line], [pool.gain["high"] for pool in line], color=colour)
        ax.plot(x, means, marker=marker, color=colour, label=f"{letters} free letters in an answer")
    ax.set_xscale("log")
    shares = sorted({pool.can_teach for pool in pools})
    ax.xaxis.set_major_locator(FixedLocator(shares))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("share of the pool that can teach")
    ax.set_ylabel("times fewer rollouts than the\nstrongest uniform setting")
    ax.legend(loc="upper right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("run", "report"))
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/learning"), help="folder for base models, embeddings and runs"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time, one core each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.stage == "run":
        run_jobs(jobs(options.seeds), RUNS, options.cache, workers=options.workers)
        return
    mixture = {identity(job.key()) for job in tuned_jobs(MIXTURE, MIXTURE_SEEDS, ARMS)}
    own = [run for run in read_results(RESULTS / f"{MIXTURE.files}/runs.jsonl") if identity(run["job"]) in mixture]
    pools = read_off([*own, *read_results(RUNS)])
    facts = [vars(pool) for pool in pools]
    (RESULTS / "sensitivity" / "results.json").write_text(json.dumps(facts, indent=1) + "\n")
    save_png(draw(plot, pools), RESULTS / "sensitivity" / "gain.png", "What the gain depends on")
    for pool in pools:
        gain = pool.gain
        missed = gain["arm_runs_that_missed"], gain["reference_runs_that_missed"]
        print(
            f"{pool.can_teach:4.0%} of {pool.prompts:6,}, {pool.free_letters:2d} letters, "
            f"from {pool.start:.3f} to {pool.target}: {gain['value']:.2f} [{gain['low']:.2f}, {gain['high']:.2f}] "
            f"against {gain['reference']}; "
            f"runs that missed the target: {missed[0]}, {missed[1]}"
        )


if __name__ == "__main__":
    main()
