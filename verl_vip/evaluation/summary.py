"""All evaluations in a folder together, and how the models differ.

`OUTPUT/metrics.json`:

    format        of this file
    baseline      label of the model that the others are compared with
    evaluations   [the `metrics.json` of each, and "folder", relative to OUTPUT], models and benchmarks in order
    comparisons   [{"baseline", "candidate", "benchmark", "mean", "maj", "pass_at_n"}], each of the last three
                  {"difference": {"value", "low", "high"}, "better", "worse", "problems"}: candidate - baseline, paired
                  by problem (see `verl_vip.evaluation.comparison`). Where there are several benchmarks there is one
                  more over all their problems together, whose benchmark is null.
    left_out      a sentence on each evaluation that could not be read, and on what else is missing
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from verl_vip.errors import InvalidInputError, StateError
from verl_vip.evaluation.comparison import compare_tables
from verl_vip.evaluation.finished import FinishedEvaluation, read_finished
from verl_vip.evaluation.folder import FORMAT

_LOG = logging.getLogger(__name__)

Evaluations = dict[str, dict[str, FinishedEvaluation]]


def find_evaluations(output: Path, first: Sequence[str] = ()) -> tuple[Evaluations, list[str]]:
    """Return the finished evaluations in a folder by model and by benchmark, and a sentence on each that is damaged.

    Args:
        output: Where they were written.
        first: Labels of models that come first, in this order; the others follow by run and step.

    Raises:
        InvalidInputError: If there is none that can be read.
    """
    found, left_out = [], []
    for path in sorted(output.glob("*/*/metrics.json")):
        try:
            found.append(read_finished(path.parent))
        except StateError as error:
            left_out.append(str(error))
    if not found:
        raise InvalidInputError(" ".join(left_out) or f"{output} holds no finished evaluation.")
    return arrange(found, first), left_out


def arrange(evaluations: Sequence[FinishedEvaluation], first: Sequence[str] = ()) -> Evaluations:
    """Return finished evaluations, `OUTPUT/MODEL/BENCHMARK` each, by model and benchmark.

    Args:
        evaluations: From one output folder or several; of a model that several have evaluated on one benchmark, the
            later ones are named `OUTPUT/MODEL`, or by more of their path where that is taken too.
        first: Labels of models that come first, in this order; the others follow by run and step.
    """
    found: Evaluations = {}
    for one in evaluations:
        *folders, benchmark = one.path.parts
        length = 1
        while benchmark in found.get(label := "/".join(folders[-length:]), {}) and length < len(folders):
            length += 1
        found.setdefault(label, {})[benchmark] = one

    def place(label: str) -> tuple[int, str, int]:
        step = next(iter(found[label].values())).metrics["step"]
        rank = first.index(label) if label in first else len(first)
        return rank, label.removesuffix(f"-step{step}"), -1 if step is None else step

    return {label: found[label] for label in sorted(found, key=place)}


def summary_data(output: Path, evaluations: Evaluations, left_out: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content of `OUTPUT/metrics.json`; the first model is the baseline.

    Models and benchmarks are named by their folders, which may have been renamed since.

    Args:
        output: The folder that all of them lie in.
        evaluations: By model and by benchmark.
        left_out: A sentence on each evaluation that could not be read.
    """
    baseline, *candidates = evaluations
    cells = [(label, benchmark, one) for label, found in evaluations.items() for benchmark, one in found.items()]
    return {
        "format": FORMAT,
        "baseline": baseline,
        "evaluations": [
            {"folder": str(one.path.relative_to(output)), **one.metrics, "model": label, "benchmark": benchmark}
            for label, benchmark, one in cells
        ],
        "comparisons": [
            comparison for candidate in candidates for comparison in _comparisons(baseline, candidate, evaluations)
        ],
        "left_out": [*left_out, *(one.undisclosed for _, _, one in cells if one.undisclosed is not None)],
    }


def _comparisons(baseline: str, candidate: str, evaluations: Evaluations) -> list[dict[str, Any]]:
    """Compare two models on each benchmark that both have with the same problems, and on all of them together."""
    ours, theirs = evaluations[baseline], evaluations[candidate]
    both = [name for name in ours if name in theirs]
    shared = [name for name in both if _same_problems(ours[name], theirs[name])]
    for name in sorted(set(both) - set(shared)):
        _LOG.warning(
            "%s and %s are not compared on %s: they were graded with other problems or answers; evaluate both again.",
            baseline,
            candidate,
            name,
        )
    names: dict[str | None, list[str]] = {name: [name] for name in shared}
    if len(shared) > 1:
        names[None] = shared
    return [
        {
            "baseline": baseline,
            "candidate": candidate,
            "benchmark": name,
            **compare_tables(
                *(
                    {f"{member}/{score.problem}": score for member in members for score in side[member].problems}
                    for side in (ours, theirs)
                )
            ),
        }
        for name, members in names.items()
    ]


def _same_problems(one: FinishedEvaluation, other: FinishedEvaluation) -> bool:
    # The hash alone is what somebody noted; a damaged table may name other problems.
    return one.benchmark_sha256 == other.benchmark_sha256 and {score.problem for score in one.problems} == {
        score.problem for score in other.problems
    }
