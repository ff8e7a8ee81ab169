"""How many rollouts does each way to spend them need for the same accuracy?

    python -m benchmarks.learning tune      # every arm's settings, on the tuning task set
    python -m benchmarks.learning run       # all arms as tuned, five seeds, on the report task set
    python -m benchmarks.learning report    # the figures and pictures, from what has finished

All three can be interrupted and started again. One core, no GPU.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.learning.plan import SHOWN, TARGET, candidates, report_jobs, tuning_jobs
from benchmarks.learning.report import table, with_earlier, write
from benchmarks.learning.runner import read_results, run_jobs
from benchmarks.learning.tuning import choose

_HERE = Path(__file__).resolve().parent
RESULTS = _HERE.parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("tune", "run", "report"))
    parser.add_argument("--cache", type=Path, default=Path("runs/learning"), help="base models, embeddings, runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many minutes")
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time, one core each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.stage == "report":
        earlier = read_results(RESULTS / "learning_runs_first_round.jsonl")
        records = with_earlier(read_results(RESULTS / "learning_runs.jsonl"), earlier)
        result = write(records, TARGET, RESULTS / "learning.json", RESULTS, SHOWN)
        print(table(result))
        return
    if options.stage == "tune":
        jobs, name = tuning_jobs(), "learning_tuning.jsonl"
    else:
        chosen = choose(candidates(), read_results(RESULTS / "learning_tuning.jsonl"))
        jobs, name = report_jobs(options.seeds, chosen), "learning_runs.jsonl"
    run_jobs(jobs, RESULTS / name, options.cache, workers=options.workers, minutes=options.minutes)


if __name__ == "__main__":
    main()
