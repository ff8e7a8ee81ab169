"""Summary of all evaluations in a folder, with comparisons of the models."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from verl_vip.errors import InvalidInputError, StateError
from verl_vip.evaluation.comparison import compare_tables
from verl_vip.evaluation.finished import FinishedEvaluation, read_finished
from verl_vip.evaluation.result_files import parse_summary, read_result
from verl_vip.evaluation.results import EvaluationSummary, ModelComparison, ProblemScore, SummarizedEvaluation

_LOG = logging.getLogger(__name__)

Evaluations = dict[str, dict[str, FinishedEvaluation]]


def find_evaluations(output: Path, first: Sequence[str] = ()) -> tuple[Evaluations, list[str]]:
    """Return the finished evaluations in a folder, by model and benchmark, and a sentence on each damaged one.

    Args:
        output: The output folder of the evaluations.
        first: Labels of models that come first, in this order; the others follow by run and step.

    Raises:
        InvalidInputError: If no evaluation can be read.
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
    """Group finished evaluations, with folders `OUTPUT/MODEL/BENCHMARK`, by model and benchmark.

    Args:
        evaluations: Evaluations from one or more output folders. If a label and benchmark occur in several, the later
            models are labelled `OUTPUT/MODEL`, or with more of their path if that label is taken too.
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
        step = next(iter(found[label].values())).metrics.step
        rank = first.index(label) if label in first else len(first)
        return rank, label.removesuffix(f"-step{step}"), -1 if step is None else step

    return {label: found[label] for label in sorted(found, key=place)}


def make_summary(output: Path, evaluations: Evaluations, left_out: Iterable[str] = ()) -> EvaluationSummary:
    """Return the summary of evaluations; the first model is the baseline.

    Models and benchmarks are named by their folders, which may have been renamed since the evaluation.

    Args:
        output: The folder of all evaluations.
        evaluations: The evaluations, by model and benchmark.
        left_out: A sentence on each evaluation that could not be read.
    """
    baseline, *candidates = evaluations
    cells = [(label, benchmark, one) for label, found in evaluations.items() for benchmark, one in found.items()]
    return EvaluationSummary(
        baseline,
        tuple(
            SummarizedEvaluation(
                str(one.path.relative_to(output)), replace(one.metrics, model=label, benchmark=benchmark)
            )
            for label, benchmark, one in cells
        ),
        tuple(comparison for candidate in candidates for comparison in _comparisons(baseline, candidate, evaluations)),
        (*left_out, *(one.undisclosed for _, _, one in cells if one.undisclosed is not None)),
    )


def read_summary(output: Path) -> EvaluationSummary | None:
    """Return the last summary of the evaluations in an output folder; None if there is none.

    Raises:
        StateError: If the file is damaged.
    """
    path = output / "metrics.json"
    return read_result(path, parse_summary) if path.is_file() else None


def _comparisons(baseline: str, candidate: str, evaluations: Evaluations) -> list[ModelComparison]:
    """Compare two models on each benchmark that both have with the same problems, and on all these together."""
    ours, theirs = evaluations[baseline], evaluations[candidate]
    both = [name for name in ours if name in theirs]
    shared = [name for name in both if _same_problems(ours[name], theirs[name])]
    for name in sorted(set(both) - set(shared)):
        _LOG.warning(
            "%s and %s are not compared on %s: they were graded on different problems or answers; evaluate both again.",
            baseline,
            candidate,
            name,
        )
    names: dict[str | None, list[str]] = {name: [name] for name in shared}
    if len(shared) > 1:
        names[None] = shared
    return [
        ModelComparison(baseline, candidate, name, compare_tables(_table(ours, members), _table(theirs, members)))
        for name, members in names.items()
    ]


def _table(side: Mapping[str, FinishedEvaluation], members: Iterable[str]) -> dict[str, ProblemScore]:
    """Return the scores of the given benchmarks, by benchmark and problem."""
    return {f"{member}/{score.problem}": score for member in members for score in side[member].problems}


def _same_problems(one: FinishedEvaluation, other: FinishedEvaluation) -> bool:
    # The hash is only a recorded value; a damaged table may name other problems.
    return one.benchmark_sha256 == other.benchmark_sha256 and {score.problem for score in one.problems} == {
        score.problem for score in other.problems
    }
