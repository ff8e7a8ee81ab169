"""The sections of the benchmarks page on the learning benchmark: ratios of rollouts, and the intervals' coverage."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tables import table

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


def learning_section() -> str:
    """Return the section on rollouts to a target accuracy, from the results of every bench that has run."""
    rows = []
    for path in sorted(RESULTS.glob("learning/*/ratios.json")):
        data = json.loads(path.read_text())
        ratios = data["rollouts_to_target_vs_uniform"]
        for name in ("prioritized", "oracle", "uniform_rloo"):
            if name in ratios:
                arm = data["arms"][name]
                missed = f"{arm['runs_that_missed_the_target']} of {len(arm['seeds'])}"
                cells = [f"`{path.parent.name}`", f"{data['target_accuracy']:.2f}", f"`{name}`"]
                rows.append([*cells, _interval(ratios[name]), missed])
    pooled = json.loads((RESULTS / "learning" / "base_models.json").read_text())
    over = [f"{_interval(one)} over the {len(one['each'])} base models of `{pool}`" for pool, one in pooled.items()]
    return (
        "\n## Rollouts to a target accuracy\n\n`python -m benchmarks.learning report`. How many times fewer "
        "rollouts an arm needs than the strongest uniform setting found, on small models trained in one process; 1 is "
        "no gain. `oracle` knows p. A run that misses the target counts with its length, in every arm. Intervals are "
        f"over the seeds of one base model; for `prioritized` it is {' and '.join(over)}. "
        "[How a figure is made](figures.md) explains both.\n\n"
        '!!! warning "Limits of these ratios"\n'
        "    No ratio is against a [balanced draw](verl.md#first-what-needs-no-prediction), which needs no prediction\n"
        "    and may explain most of the gain on the mixed pool. Read the ratios as a gain over uniform sampling, not\n"
        "    as the value of prediction.\n"
        + table(["bench", "target", "arm", "times fewer rollouts", "runs that missed it"], rows)
    )


def coverage_section(result: Mapping[str, Any]) -> str:
    """Return the section on the coverage of intervals for ratios."""
    methods = ("Welch on logarithms", "bootstrap, paired", "over models")
    rows = [
        [
            row["case"],
            str(row["seeds"]),
            *(f"{row['coverage'][m]:.3f}" if m in row["coverage"] else "" for m in methods),
        ]
        for row in result["rows"]
    ]
    return (
        "\n## Coverage of the intervals\n\n`python benchmarks/ratio_intervals.py`. The share of 95\N{NO-BREAK SPACE}% "
        f"intervals that hold the truth, in {result['trials']:,} simulated comparisons of two arms. With several base "
        "models, each has a ratio of its own.\n" + table(["case", "seeds", *methods], rows)
    )


def _interval(one: Mapping[str, float]) -> str:
    return f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
