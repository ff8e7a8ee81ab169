"""The benches by name, the folder of their results, and their runs."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.learning.bench import Bench
from benchmarks.learning.loop import RunPlan
from benchmarks.learning.lopsided import LOPSIDED
from benchmarks.learning.mixture import MIXTURE, MIXTURE_FIRST
from benchmarks.learning.runner import read_results
from benchmarks.learning.short_answers import SHORT_ANSWERS
from benchmarks.learning.tuning import Scores, choose
from benchmarks.learning.working import WORKING
from benchmarks.learning.working_long import WORKING_LONG

BENCHES = {bench.name: bench for bench in (WORKING, WORKING_LONG, LOPSIDED, MIXTURE, MIXTURE_FIRST, SHORT_ANSWERS)}
#: Benches of one pool that differ in their base models, and in what follows from these.
SAME_POOL = {"mixture": (MIXTURE.name, MIXTURE_FIRST.name)}
#: The default bench.
MAIN = MIXTURE
RESULTS = Path(__file__).resolve().parent.parent / "results" / "learning"


def tuned_jobs(bench: Bench, seeds: int, arms: Sequence[str] | None = None) -> list[RunPlan]:
    """Return the runs of the given arms, or of all arms, as they were tuned.

    Raises:
        SystemExit: If an arm has not been tuned.
    """
    scores = Scores(read_results(RESULTS / f"{bench.files}/tuning.jsonl"), bench.tuning_targets)
    wanted = arms or [*bench.grids, *bench.derived]
    tuned = {bench.derived[name][0] if name in bench.derived else name for name in wanted}
    candidates = {name: found for name, found in bench.candidates().items() if name in tuned}
    jobs = bench.report_jobs(seeds, choose(candidates, scores, final=bench.finalists))
    return [job for job in jobs if job.arm.name in wanted]
