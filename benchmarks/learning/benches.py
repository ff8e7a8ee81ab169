"""The benchmarks by name, and where their results lie."""

from pathlib import Path

from benchmarks.learning.lopsided import LOPSIDED
from benchmarks.learning.mixture import MIXTURE
from benchmarks.learning.short_answers import SHORT_ANSWERS
from benchmarks.learning.working import WORKING
from benchmarks.learning.working_long import WORKING_LONG

BENCHES = {bench.name: bench for bench in (WORKING, WORKING_LONG, LOPSIDED, MIXTURE, SHORT_ANSWERS)}
#: Where no other is asked for.
MAIN = MIXTURE
RESULTS = Path(__file__).resolve().parent.parent / "results"
