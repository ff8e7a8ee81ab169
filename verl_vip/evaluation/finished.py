"""Reads a finished evaluation from its folder and checks its files.

Any fault of a file becomes one `StateError` that names it, so that summaries and reports of several evaluations can
leave this one out and say why.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from verl_vip.errors import StateError
from verl_vip.evaluation.result_files import parse_manifest, parse_metrics, read_result
from verl_vip.evaluation.result_rows import parse_disputed, parse_endings, parse_problems
from verl_vip.evaluation.results import Dispute, EvaluationManifest, EvaluationMetrics, ProblemScore

#: The files that mark a folder as that of an evaluation.
EVALUATION_FILES = frozenset({"metrics.json", "manifest.json"})


@dataclass(frozen=True)
class FinishedEvaluation:
    """The evaluation of one model on one benchmark.

    Attributes:
        path: The folder of the evaluation, `OUTPUT/MODEL/BENCHMARK`.
        metrics: The metrics.
        manifest: The description of the samples.
        problems: The table of problems.
        disputes: The responses that the second opinion judges differently, in the order of the grades.
        undisclosed: The reason why the disputes are unknown; None if they are known.
    """

    path: Path
    metrics: EvaluationMetrics
    manifest: EvaluationManifest
    problems: tuple[ProblemScore, ...]
    disputes: tuple[Dispute, ...]
    undisclosed: str | None

    @property
    def benchmark_sha256(self) -> str:
        """The hash of the problems and answers that were graded."""
        # Older metrics lack it; in their manifests it is the hash of prompts and answers.
        return self.metrics.benchmark_sha256 or self.manifest.benchmark.sha256


def read_finished(path: Path) -> FinishedEvaluation:
    """Read an evaluation.

    Args:
        path: The folder of the evaluation.

    Raises:
        StateError: If it is not finished, was written by another version, or is damaged. Damaged files of responses or
            grades do not raise this error, because only the disputes need them.
    """
    metrics = read_result(path / "metrics.json", parse_metrics)
    manifest = read_result(path / "manifest.json", parse_manifest)
    problems = read_result(path / "problems.csv", lambda text: parse_problems(text, metrics))
    disputes: tuple[Dispute, ...] = ()
    undisclosed = None
    if metrics.second_opinion is not None and metrics.second_opinion.disagreements:
        try:
            disputes = _disputes(path, metrics)
        except StateError as error:
            undisclosed = f"{error} So the responses of {path} that the second opinion disputes are not shown."
    return FinishedEvaluation(path, metrics, manifest, problems, disputes, undisclosed)


def _disputes(path: Path, metrics: EvaluationMetrics) -> tuple[Dispute, ...]:
    disputed = read_result(path / "grades.jsonl", lambda text: parse_disputed(text, metrics))
    places = {(one.problem, one.sample) for one in disputed}
    endings = read_result(path / "samples.jsonl", lambda text: parse_endings(text, places))
    return tuple(replace(one, ending=" ".join(endings[one.problem, one.sample].split())) for one in disputed)
