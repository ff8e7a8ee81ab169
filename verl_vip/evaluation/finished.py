"""A finished evaluation, read from its folder at once and with its shape checked.

Whatever is wrong with a file becomes one `StateError` that names it, so that what is made of several evaluations can
leave this one out and say why.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from verl_vip.errors import InvalidInputError, StateError
from verl_vip.evaluation.result_files import (
    ProblemScore,
    parse_disputed,
    parse_endings,
    parse_manifest,
    parse_metrics,
    parse_problems,
)
from verl_vip.regular_files import read_regular

_ADVICE = {
    "metrics.json": "Remove it, and evaluating again grades anew.",
    "problems.csv": "Remove it, and evaluating again makes it anew.",
    "grades.jsonl": "Remove it, and evaluating again makes it anew.",
    "manifest.json": "Without it nobody knows what was sampled; remove the folder to evaluate anew.",
    "samples.jsonl": "Remove the line, and evaluating again samples what is missing.",
}

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Dispute:
    """One response that the grader and the second opinion judge differently; `ending` is the end of its text."""

    problem: str
    sample: int
    answer: str | None
    correct: bool
    second: bool
    ending: str


@dataclass(frozen=True)
class FinishedEvaluation:
    """One model on one benchmark.

    Attributes:
        path: Its folder, `OUTPUT/MODEL/BENCHMARK`.
        metrics: As `metrics.json` holds them.
        manifest: As `manifest.json` holds it.
        problems: The table of problems.
        disputes: What the second opinion disputes, in the order of the grades.
        undisclosed: Why the disputes are not known; None where they are.
    """

    path: Path
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]
    problems: tuple[ProblemScore, ...]
    disputes: tuple[Dispute, ...]
    undisclosed: str | None

    @property
    def benchmark_sha256(self) -> str:
        """What tells the problems and their answers, as they were graded, from any others."""
        # Earlier metrics do not say; their manifest's hash is that of prompts and answers.
        return str(self.metrics.get("benchmark_sha256") or self.manifest["benchmark"]["sha256"])


def read_finished(path: Path) -> FinishedEvaluation:
    """Read an evaluation.

    Args:
        path: Its folder.

    Raises:
        StateError: If it is not finished, was written by another version, or is damaged. Damaged responses or grades
            alone are no reason: they are needed for the disputes only.
    """
    metrics = _parsed(path / "metrics.json", parse_metrics)
    manifest = _parsed(path / "manifest.json", parse_manifest)
    problems = _parsed(path / "problems.csv", lambda text: parse_problems(text, metrics))
    disputes: tuple[Dispute, ...] = ()
    undisclosed = None
    if (metrics["second_opinion"] or {}).get("disagreements"):
        try:
            disputes = _disputes(path, metrics)
        except StateError as error:
            undisclosed = f"{error} So the responses of {path} that the second opinion disputes are not shown."
    return FinishedEvaluation(path, metrics, manifest, problems, disputes, undisclosed)


def _parsed(path: Path, parse: Callable[[str], Parsed]) -> Parsed:
    try:
        return parse(read_regular(path).decode())
    except StateError:
        raise
    except InvalidInputError as error:
        raise StateError(f"{path} cannot be used: {error} {_ADVICE[path.name]}") from error
    except UnicodeDecodeError as error:
        why = f"it is no text in UTF-8 ({error.reason})"
        raise StateError(f"{path} cannot be used: {why}. {_ADVICE[path.name]}") from error


def _disputes(path: Path, metrics: Mapping[str, Any]) -> tuple[Dispute, ...]:
    disputed = _parsed(path / "grades.jsonl", lambda text: parse_disputed(text, metrics))
    places = {(one["problem"], one["sample"]) for one in disputed}
    endings = _parsed(path / "samples.jsonl", lambda text: parse_endings(text, places))
    return tuple(Dispute(**one, ending=" ".join(endings[one["problem"], one["sample"]].split())) for one in disputed)
