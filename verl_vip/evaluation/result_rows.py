"""Writes and reads the files of an evaluation that have one item per row or line.

`problems.csv`: problem, source, n, correct, mean, pass_at_K for K = 1, 2, 4, ... n, majority (the most frequent
answer, cut off after 1,000 characters), majority_correct (of all n samples, ties shared), unanswered, truncated, tokens
(mean of a response), disagreements (with the second opinion).

`verl_vip.evaluation.folder` describes the other files. An invalid text raises an `InvalidInputError`.
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from verl_vip.checks import require_count, require_flag, require_probability, require_text
from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.metrics import Graded, ProblemRow
from verl_vip.evaluation.result_files import ROUNDING, require_at, unless_null
from verl_vip.evaluation.results import Dispute, EvaluationMetrics, ProblemScore
from verl_vip.json_lines import parse_json_lines, valid_text

#: The number of characters to keep from the end of a disputed response.
_EXCERPT = 120


def problem_cells(row: ProblemRow) -> dict[str, Any]:
    """Return the cells of a row of `problems.csv`, by column."""
    cells = asdict(row)
    pass_at = {f"pass_at_{k}": share for k, share in cells.pop("pass_at_k").items()}
    names = ("problem", "source", "n", "correct")
    first = {name: cells.pop(name) for name in names}
    return {**first, "mean": row.correct / row.n, **pass_at, **cells}


def parse_problems(text: str, metrics: EvaluationMetrics) -> tuple[ProblemScore, ...]:
    """Read `problems.csv`, whose rows must agree with the metrics."""
    # The majority answer may be a whole response, and longer than the csv module accepts by default.
    usual = csv.field_size_limit(max(len(text), 1))
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InvalidInputError(f"it is not a table of comma-separated values ({error}).") from error
    finally:
        csv.field_size_limit(usual)
    found = tuple(_problem(row, metrics.n) for row in rows)
    if len({one.problem for one in found}) != metrics.problems or len(found) != metrics.problems:
        raise InvalidInputError(f"it should hold {metrics.problems} problems, each once.")
    if abs(sum(one.mean for one in found) / len(found) - metrics.mean.value) > ROUNDING:
        raise InvalidInputError("its mean differs from the one in metrics.json.")
    return found


def _problem(row: Mapping[str, Any], n: int) -> ProblemScore:
    columns = ("mean", "majority_correct", f"pass_at_{n}")
    try:
        problem, counted = row["problem"], int(row["n"])
        mean, majority, any_right = scores = [float(row[column]) for column in columns]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"a row lacks a number or a column ({error}).") from error
    require_text("problem", problem)
    if counted != n:
        raise InvalidInputError(f"problem {problem!r} has {counted} samples instead of {n}.")
    for column, score in zip(columns, scores, strict=True):
        require_probability(f"{column} of problem {problem!r}", score)
    return ProblemScore(problem, n, mean, majority, any_right, row.get("source") or "")


def parse_disputed(text: str, metrics: EvaluationMetrics) -> list[Dispute]:
    """Read the disputed responses from `grades.jsonl`; their number must agree with the metrics."""
    grades = [_grade(line) for line in _json_lines(text)]
    responses = metrics.problems * metrics.n
    if len(grades) != responses or len({(one["problem"], one["sample"]) for one in grades}) != responses:
        raise InvalidInputError(f"it should hold {responses} grades, one for each response.")
    disputed = [Dispute(**one) for one in grades if one["second"] is not None and one["second"] != one["correct"]]
    if metrics.second_opinion is None or len(disputed) != metrics.second_opinion.disagreements:
        raise InvalidInputError("its disagreements differ from those in metrics.json.")
    return disputed


def grade_json(graded: Graded) -> dict[str, Any]:
    """Return a line of `grades.jsonl`."""
    return {
        "problem": graded.sample.problem,
        "sample": graded.sample.sample,
        **asdict(graded.grade),
        "truncated": graded.truncated,
    }


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    return (line for _, line in parse_json_lines(io.BytesIO(text.encode()), appended=True))


def _grade(line: Mapping[str, Any]) -> dict[str, Any]:
    require_at(line, require_text, "problem")
    require_at(line, require_count, "sample")
    require_at(line, unless_null(require_text), "answer")
    require_at(line, require_flag, "correct")
    require_at(line, unless_null(require_flag), "second")
    return {key: line[key] for key in ("problem", "sample", "answer", "correct", "second")}


def parse_endings(text: str, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Read the ends of some responses from `samples.jsonl`, by problem and sample."""
    found: dict[tuple[str, int], str] = {}
    for line in _json_lines(text):
        require_at(line, require_text, "problem", "text")
        require_at(line, require_count, "sample")
        place = line["problem"], line["sample"]
        if place in places:
            found[place] = valid_text(line["text"])[-_EXCERPT:]
    if missing := len(places) - len(found):
        raise InvalidInputError(f"{missing} responses that were graded are missing.")
    return found
