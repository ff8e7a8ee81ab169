"""All evaluations in a folder together, and how the models differ.

`OUTPUT/metrics.json`:

    format        of this file
    baseline      label of the model that the others are compared with
    evaluations   [the `metrics.json` of each, and "folder", relative to OUTPUT], models and benchmarks in order
    comparisons   [{"baseline", "candidate", "benchmark", "mean", "maj", "pass_at_n"}], each of the last three
                  {"difference": {"value", "low", "high"}, "better", "worse", "problems"}: candidate - baseline, paired
                  by problem (see `verl_vip.evaluation.comparison`). Where there are several benchmarks there is one
                  more over all their problems together, whose benchmark is null.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.comparison import compare_tables
from verl_vip.evaluation.folder import FORMAT, ResultFolder

_LOG = logging.getLogger(__name__)

Evaluations = dict[str, dict[str, ResultFolder]]


def find_evaluations(output: Path, first: Sequence[str] = ()) -> Evaluations:
    """Return the finished evaluations in a folder: by model, by benchmark.

    Args:
        output: Where they were written.
        first: Labels of models that come first, in this order; the others follow by run and step.

    Raises:
        InvalidInputError: If there is none.
    """
    folders = [ResultFolder(path.parent) for path in sorted(output.glob("*/*/metrics.json"))]
    if not folders:
        raise InvalidInputError(f"{output} holds no finished evaluation.")
    return arrange(folders, first)


def arrange(folders: Sequence[ResultFolder], first: Sequence[str] = ()) -> Evaluations:
    """Return finished evaluations, `OUTPUT/MODEL/BENCHMARK` each, by model and benchmark.

    Args:
        folders: From one output folder or several; of a model that several have evaluated on one benchmark, the later
            ones are named `OUTPUT/MODEL`.
        first: Labels of models that come first, in this order; the others follow by run and step.
    """
    found: Evaluations = {}
    for folder in folders:
        label, benchmark = folder.path.parent.name, folder.path.name
        if benchmark in found.get(label, {}):
            label = f"{folder.path.parents[1].name}/{label}"
        found.setdefault(label, {})[benchmark] = folder

    def place(label: str) -> tuple[int, str, int]:
        step = next(iter(found[label].values())).metrics()["step"]
        rank = first.index(label) if label in first else len(first)
        return rank, label.removesuffix(f"-step{step}"), -1 if step is None else step

    return {label: found[label] for label in sorted(found, key=place)}


def summary_data(output: Path, evaluations: Evaluations) -> dict[str, Any]:
    """Return the content of `OUTPUT/metrics.json`; the first model is the baseline."""
    baseline, *candidates = evaluations
    return {
        "format": FORMAT,
        "baseline": baseline,
        "evaluations": [
            {"folder": str(folder.path.relative_to(output)), **folder.metrics()}
            for benchmarks in evaluations.values()
            for folder in benchmarks.values()
        ],
        "comparisons": [
            comparison for candidate in candidates for comparison in _comparisons(baseline, candidate, evaluations)
        ],
    }


def _comparisons(baseline: str, candidate: str, evaluations: Evaluations) -> list[dict[str, Any]]:
    """Compare two models on each benchmark that both have with the same problems, and on all of them together."""
    ours, theirs = evaluations[baseline], evaluations[candidate]
    both = [name for name in ours if name in theirs]
    shared = [name for name in both if _benchmark_hash(ours[name]) == _benchmark_hash(theirs[name])]
    for name in sorted(set(both) - set(shared)):
        _LOG.warning(
            "%s and %s are not compared on %s: they were graded with other problems or answers; evaluate both again.",
            baseline,
            candidate,
            name,
        )
    tables = {name: (ours[name].problems(), theirs[name].problems()) for name in shared}
    names: dict[str | None, list[str]] = {name: [name] for name in shared}
    if len(shared) > 1:
        names[None] = shared
    return [
        {
            "baseline": baseline,
            "candidate": candidate,
            "benchmark": name,
            **compare_tables(
                [row for member in members for row in tables[member][0]],
                [row for member in members for row in tables[member][1]],
            ),
        }
        for name, members in names.items()
    ]


def _benchmark_hash(folder: ResultFolder) -> str:
    """Return what tells the problems and their answers, as they were graded, from any others."""
    # Earlier metrics do not say; their manifest's hash is that of prompts and answers.
    return str(folder.metrics().get("benchmark_sha256") or folder.manifest()["benchmark"]["sha256"])
