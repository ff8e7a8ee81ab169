"""The benches by name, the folder of their results, and their runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.learning.bench import Bench
from benchmarks.learning.comparators import COMPARATORS, HIDDEN, REVISITED
from benchmarks.learning.loop import RunPlan
from benchmarks.learning.lopsided import LOPSIDED
from benchmarks.learning.mixture import MIXTURE, MIXTURE_FIRST
from benchmarks.learning.runner import read_results
from benchmarks.learning.short_answers import SHORT_ANSWERS
from benchmarks.learning.tuning import RULING, Scores, choose, ruled_targets
from benchmarks.learning.working import WORKING
from benchmarks.learning.working_long import WORKING_LONG

BENCHES = {
    bench.name: bench
    for bench in (
        WORKING, WORKING_LONG, LOPSIDED, MIXTURE, MIXTURE_FIRST, SHORT_ANSWERS, *COMPARATORS, *REVISITED, *HIDDEN
    )
}  # fmt: skip
#: Benches of one pool that differ in their base models, and in what follows from these.
SAME_POOL = {
    "mixture": (MIXTURE.name, MIXTURE_FIRST.name),
    "comparators": tuple(bench.name for bench in COMPARATORS),
    "revisited": tuple(bench.name for bench in REVISITED),
    "hidden": tuple(bench.name for bench in HIDDEN),
}
#: The default bench.
MAIN = MIXTURE
RESULTS = Path(__file__).resolve().parent.parent / "results" / "learning"


def scores_of(bench: Bench, records: Sequence[dict[str, Any]]) -> Scores:
    """Return the scores of a bench's finished tuning runs."""
    targets = bench.tuning_targets
    if targets is None:
        targets = ruled_targets(records, bench.candidates()[RULING])
    return Scores(records, targets)


def tuned_jobs(bench: Bench, seeds: int, arms: Sequence[str] | None = None) -> list[RunPlan]:
    """Return the runs of the given arms, or of all arms, as they were tuned.

    Raises:
        SystemExit: If an arm has not been tuned.
    """
    scores = scores_of(bench, read_results(RESULTS / bench.tuning_file))
    wanted = arms or [*bench.grids, *bench.derived]
    tuned = {bench.derived[name][0] if name in bench.derived else name for name in wanted}
    candidates = {name: found for name, found in bench.candidates().items() if name in tuned}
    jobs = bench.report_jobs(seeds, choose(candidates, scores, final=bench.finalists))
    return [job for job in jobs if job.arm.name in wanted]
