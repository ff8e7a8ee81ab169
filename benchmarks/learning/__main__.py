"""Rollouts that each arm needs for the same accuracy.

    python -m benchmarks.learning tune      # choose every arm's settings on the tuning task set
    python -m benchmarks.learning run       # run all arms as tuned, with the bench's seeds, on the report task set
    python -m benchmarks.learning report    # write the figures and pictures of the finished runs of every bench

`--bench` chooses a bench; for `tune` and `run` it is the main one unless set. All commands can be interrupted and
started again. They need one core and no GPU.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.learning.bench import Bench
from benchmarks.learning.benches import BENCHES, MAIN, RESULTS, SAME_POOL, scores_of, tuned_jobs
from benchmarks.learning.loop import identity
from benchmarks.learning.report import over_base_models, table, write
from benchmarks.learning.runner import read_results, run_jobs
from benchmarks.learning.tuning import finalists


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("tune", "run", "report"))
    parser.add_argument("--bench", choices=sorted(BENCHES))
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/learning"), help="folder for base models, embeddings and runs"
    )
    parser.add_argument("--seeds", type=int, help="number of seeds of the reported runs (default: the bench's own)")
    parser.add_argument("--arms", nargs="*", help="run these arms only")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after this many minutes")
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time, one core each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.stage == "report":
        if options.seeds is not None or options.arms:
            parser.error("report takes each bench's own number of seeds and all arms; leave --seeds and --arms out.")
        _report([BENCHES[options.bench]] if options.bench else list(BENCHES.values()))
        return
    bench = BENCHES[options.bench] if options.bench else MAIN
    seeds = bench.report_seeds if options.seeds is None else options.seeds
    if options.stage == "tune":
        _tune(bench, options)
    else:
        jobs = tuned_jobs(bench, seeds, options.arms)
        path = RESULTS / f"{bench.files}/runs.jsonl"
        run_jobs(jobs, path, options.cache, workers=options.workers, minutes=options.minutes)


def _report(benches: Sequence[Bench]) -> None:
    results = {}
    for bench in benches:
        if not (RESULTS / f"{bench.files}/runs.jsonl").exists():
            continue
        # Runs with settings that further tuning did not confirm are left out.
        planned = {identity(job.key()) for job in tuned_jobs(bench, bench.report_seeds)}
        runs = read_results(RESULTS / f"{bench.files}/runs.jsonl")
        results[bench.name] = write([run for run in runs if identity(run["job"]) in planned], bench, RESULTS)
        print(bench.name, table(results[bench.name]), sep="\n")
    if len(benches) == len(BENCHES):
        pooled = {
            pool: {"benches": list(names), **over_base_models([results[name] for name in names])}
            for pool, names in SAME_POOL.items()
            if results.keys() >= set(names)
        }
        (RESULTS / "base_models.json").write_text(json.dumps(pooled, indent=1) + "\n")


def _tune(bench: Bench, options: argparse.Namespace) -> None:
    """Run all candidates with the first seed, then the finalists with the other seeds."""
    path = RESULTS / bench.tuning_file
    candidates = {
        name: found
        for name, found in bench.candidates().items()
        if len(found) > 1 and (not options.arms or name in options.arms)
    }
    settings = {"workers": options.workers, "minutes": options.minutes}
    run_jobs([runs[0] for found in candidates.values() for runs in found], path, options.cache, **settings)
    scores = scores_of(bench, read_results(path))
    further = [
        runs
        for found in candidates.values()
        for runs in (found if bench.finalists is None else finalists(found, scores, bench.finalists))
    ]
    jobs = [runs[seed] for seed in range(1, bench.tuning_seeds) for runs in further]
    run_jobs(jobs, path, options.cache, **settings)


if __name__ == "__main__":
    main()
