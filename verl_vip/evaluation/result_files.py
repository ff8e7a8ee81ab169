"""The files of a finished evaluation, parsed: their shape is checked, and whatever is wrong is an `InvalidInputError`.

`verl_vip.evaluation.folder` says what the files are, and `verl_vip.evaluation.metrics` what they hold.
"""

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from verl_vip.checks import (
    require_count,
    require_flag,
    require_mapping,
    require_number,
    require_probability,
    require_text,
)
from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.folder import FORMAT
from verl_vip.evaluation.metrics import powers
from verl_vip.json_lines import parse_json_lines, valid_text

#: Characters of a disputed response that are kept, from its end.
_EXCERPT = 120
#: Metrics and table are rounded differently when they are written.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class ProblemScore:
    """One problem, as `problems.csv` has it.

    Attributes:
        problem: Its id.
        n: Samples.
        mean: Share of right ones.
        majority: Share that the most frequent answer is right, ties shared.
        any_right: pass@n: 1 if any sample is right.
    """

    problem: str
    n: int
    mean: float
    majority: float
    any_right: float


def parse_metrics(text: str) -> dict[str, Any]:
    """Return the content of `metrics.json`."""
    data = _json_object(text)
    _require(data, _require_format, "format")
    _require(data, require_text, "model", "benchmark")
    _require(data, _require_positive, "problems", "n")
    _require(data, _require_unless_null(require_count), "step")
    _require(data, require_probability, "unanswered", "truncated")
    _require(data, require_number, "tokens.mean", "tokens.median", "tokens.max", "tokens.total")
    _require(data, require_mapping, "pass_at_k", "maj_at_k", "sources", "grader")
    _require(data, _require_estimate, "mean")
    n = data["n"]
    _require_curve("pass_at_k", data["pass_at_k"], n, range(1, n + 1))
    _require_curve("maj_at_k", data["maj_at_k"], len(powers(n)), powers(n))
    for source, found in data["sources"].items():
        require_count(f"the problems of source {source!r}", _get(found, "problems"))
        _require_estimate(f"the mean of source {source!r}", _get(found, "mean"))
    if _get(data, "second_opinion") is not None:
        _require(data, require_probability, "second_opinion.correct")
        _require(data, require_count, "second_opinion.disagreements")
    _require_unless_null(require_text)("benchmark_sha256", data.get("benchmark_sha256"))
    return data


def parse_manifest(text: str) -> dict[str, Any]:
    """Return the content of `manifest.json`."""
    data = _json_object(text)
    _require(data, require_text, "model.label", "model.origin", "model.sha256", "benchmark.name", "benchmark.sha256")
    _require(data, require_mapping, "benchmark.origin", "sampling", "versions")
    _require(data, require_count, "benchmark.problems")
    return data


def parse_problems(text: str, metrics: Mapping[str, Any]) -> tuple[ProblemScore, ...]:
    """Return the rows of `problems.csv`, which must be those that the metrics sum up."""
    n = metrics["n"]
    # A response may be the answer that the majority gives, and be longer than what the module takes by itself.
    usual = csv.field_size_limit(max(len(text), 1))
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InvalidInputError(f"it is no table of comma-separated values ({error}).") from error
    finally:
        csv.field_size_limit(usual)
    found = tuple(_problem(row, n) for row in rows)
    if len({one.problem for one in found}) != metrics["problems"] or len(found) != metrics["problems"]:
        raise InvalidInputError(f"it should hold {metrics['problems']} problems, each once.")
    if abs(sum(one.mean for one in found) / len(found) - metrics["mean"]["value"]) > _ROUNDING:
        raise InvalidInputError("its mean is not that of metrics.json.")
    return found


def _problem(row: Mapping[str, Any], n: int) -> ProblemScore:
    columns = ("mean", "majority_correct", f"pass_at_{n}")
    try:
        problem, counted = row["problem"], int(row["n"])
        scores = [float(row[column]) for column in columns]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"a row lacks a number or a column ({error}).") from error
    require_text("problem", problem)
    if counted != n:
        raise InvalidInputError(f"problem {problem!r} has {counted} samples and not {n}.")
    for column, score in zip(columns, scores, strict=True):
        require_probability(f"{column} of problem {problem!r}", score)
    return ProblemScore(problem, n, *scores)


def parse_disputed(text: str, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of `grades.jsonl` in which both verdicts differ, as many as the metrics count."""
    grades = [_grade(line) for line in _json_lines(text)]
    responses = metrics["problems"] * metrics["n"]
    if len(grades) != responses or len({(one["problem"], one["sample"]) for one in grades}) != responses:
        raise InvalidInputError(f"it should hold {responses} grades, each response's once.")
    disputed = [one for one in grades if one["second"] is not None and one["second"] != one["correct"]]
    if len(disputed) != metrics["second_opinion"]["disagreements"]:
        raise InvalidInputError("its disagreements are not those of metrics.json.")
    return disputed


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    return (line for _, line in parse_json_lines(io.BytesIO(text.encode()), appended=True))


def _grade(line: Mapping[str, Any]) -> dict[str, Any]:
    _require(line, require_text, "problem")
    _require(line, require_count, "sample")
    _require(line, _require_unless_null(require_text), "answer")
    _require(line, require_flag, "correct")
    _require(line, _require_unless_null(require_flag), "second")
    return {key: line[key] for key in ("problem", "sample", "answer", "correct", "second")}


def parse_endings(text: str, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Return from `samples.jsonl` the ends of some responses, by problem and sample."""
    found: dict[tuple[str, int], str] = {}
    for line in _json_lines(text):
        _require(line, require_text, "problem", "text")
        _require(line, require_count, "sample")
        place = line["problem"], line["sample"]
        if place in places:
            found[place] = valid_text(line["text"])[-_EXCERPT:]
    if missing := len(places) - len(found):
        raise InvalidInputError(f"{missing} responses that were graded are missing.")
    return found


def _require_format(name: str, value: Any) -> None:
    if value != FORMAT:
        raise InvalidInputError(f"{name} is {value!r}, and this version reads {FORMAT}.")


def _require_positive(name: str, value: Any) -> None:
    require_count(name, value)
    if value == 0:
        raise InvalidInputError(f"{name} must be at least 1.")


def _require_unless_null(check: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    return lambda name, value: None if value is None else check(name, value)


def _require_estimate(name: str, value: Any) -> None:
    low, middle, high = (_get(value, key) for key in ("low", "value", "high"))
    for bound in (low, middle, high):
        require_probability(name, bound)
    if not low - _ROUNDING <= middle <= high + _ROUNDING:
        raise InvalidInputError(f"{name} must lie in its interval; got {middle} in [{low}, {high}].")


def _require_curve(name: str, curve: Mapping[str, Any], points: int, ks: Iterable[int]) -> None:
    if len(curve) != points or any(str(k) not in curve for k in ks):
        raise InvalidInputError(f"{name} must have {points} values of k.")
    for k, estimate in curve.items():
        _require_estimate(f"{name} at {k}", estimate)


def _json_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"it is no JSON ({error}).") from error
    require_mapping("its content", data)
    return dict(data)


def _get(data: Mapping[str, Any], dotted: str) -> Any:
    found: Any = data
    for key in dotted.split("."):
        if not isinstance(found, Mapping) or key not in found:
            raise InvalidInputError(f"{dotted} is missing.")
        found = found[key]
    return found


def _require(data: Mapping[str, Any], check: Callable[[str, Any], None], *names: str) -> None:
    for name in names:
        check(name, _get(data, name))
