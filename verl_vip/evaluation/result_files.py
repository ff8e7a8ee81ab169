"""Writes and reads the JSON files of evaluations; reading checks their content.

`metrics.json` of one evaluation, `OUTPUT/MODEL/BENCHMARK`:

    format          version of the file format
    model, step     label of the model, and its training step if it is a checkpoint
    benchmark       name of the benchmark
    benchmark_sha256  hash of its prompts, answers, sources and extra_info
    problems, n     number of problems, and of samples of each problem
    mean            mean@n, which estimates pass@1
    pass_at_k       {"1": ..., ..., "n": ...}
    maj_at_k        {"1": ..., "2": ..., "4": ..., "n": ...}
    sources         {source: {"problems": ..., "mean": ...}}
    unanswered      share of samples without an answer
    truncated       share of samples that were cut off at max_tokens
    tokens          {"mean", "median", "max", "total"} of the responses
    grader          description of the grader
    second_opinion  null, or {"correct": share of correct samples, "disagreements": samples judged differently}

Each of mean, pass_at_k and maj_at_k is `{"value", "low", "high"}`, a mean over problems with its 95% interval over
problems, all between 0 and 1.

`metrics.json` of an output folder:

    format        version of the file format
    baseline      label of the model that the others are compared with
    evaluations   [the `metrics.json` of each, and "folder", relative to OUTPUT], models and benchmarks in order
    comparisons   [{"baseline", "candidate", "benchmark", "mean", "maj", "pass_at_n"}], each of the last three
                  {"difference": {"value", "low", "high"}, "better", "worse", "problems"}: candidate - baseline, paired
                  by problem (see `verl_vip.evaluation.comparison`). With several benchmarks there is one more
                  comparison over all their problems, whose benchmark is null. With unequal n there is no pass_at_n.
    left_out      a sentence on each evaluation that could not be read, and on other missing data

`verl_vip.evaluation.folder` describes the other files; `verl_vip.evaluation.result_rows` reads those with one item per
row or line. An invalid text raises an `InvalidInputError`.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, TypeVar

from verl_vip.checks import (
    require_count,
    require_mapping,
    require_number,
    require_probability,
    require_text,
)
from verl_vip.errors import InvalidInputError, StateError
from verl_vip.evaluation.metrics import powers
from verl_vip.evaluation.results import (
    EvaluatedBenchmark,
    EvaluatedModel,
    EvaluationManifest,
    EvaluationMetrics,
    EvaluationSummary,
    ModelComparison,
    PairedDifference,
    SecondOpinion,
    SourceScore,
    SummarizedEvaluation,
    TableComparison,
    TokenCounts,
)
from verl_vip.regular_files import read_regular
from verl_vip.statistics.intervals import Estimate

FORMAT = 1

#: Tolerance for the different rounding of metrics and table in their files.
ROUNDING = 1e-6
_ADVICE = {
    "metrics.json": "Remove it and evaluate again, which grades the samples again.",
    "problems.csv": "Remove it and evaluate again, which writes it again.",
    "grades.jsonl": "Remove it and evaluate again, which writes it again.",
    "manifest.json": "It records what was sampled and cannot be recreated; remove the folder and evaluate again.",
    "samples.jsonl": "Remove the line and evaluate again, which samples what is missing.",
}

Parsed = TypeVar("Parsed")


def read_result(path: Path, parse: Callable[[str], Parsed]) -> Parsed:
    """Read a file of an evaluation or of an output folder.

    Args:
        path: The file.
        parse: The function that reads its text.

    Raises:
        StateError: If the file cannot be read or is damaged. The message names the file and says what to do.
    """
    try:
        return parse(read_regular(path).decode())
    except StateError:
        raise
    except InvalidInputError as error:
        raise StateError(f"{path} cannot be used: {error} {_ADVICE[path.name]}") from error
    except UnicodeDecodeError as error:
        why = f"it is not UTF-8 text ({error.reason})"
        raise StateError(f"{path} cannot be used: {why}. {_ADVICE[path.name]}") from error


def metrics_json(metrics: EvaluationMetrics) -> dict[str, Any]:
    """Return the content of an evaluation's `metrics.json`."""
    found = asdict(metrics)
    for name in ("pass_at_k", "maj_at_k"):
        found[name] = {str(k): estimate for k, estimate in found[name].items()}
    return {"format": FORMAT, **found}


def parse_metrics(text: str) -> EvaluationMetrics:
    """Read an evaluation's `metrics.json`."""
    return _metrics(_json_object(text))


def manifest_json(manifest: EvaluationManifest) -> dict[str, Any]:
    """Return the content of `manifest.json`."""
    return {"format": FORMAT, **asdict(manifest)}


def parse_manifest(text: str) -> EvaluationManifest:
    """Read `manifest.json`."""
    data = _json_object(text)
    require_at(data, require_text, "model.label", "model.origin", "model.sha256", "benchmark.name", "benchmark.sha256")
    require_at(data, require_mapping, "benchmark.origin", "sampling", "versions")
    require_at(data, require_count, "benchmark.problems")
    model = {"kind": None, "step": None, **data["model"]}
    unless_null(require_text)("model.kind", model["kind"])
    unless_null(require_count)("model.step", model["step"])
    return EvaluationManifest(
        EvaluatedModel(**_known(EvaluatedModel, model)),
        EvaluatedBenchmark(**_known(EvaluatedBenchmark, data["benchmark"])),
        data["sampling"],
        data["versions"],
    )


def summary_json(summary: EvaluationSummary) -> dict[str, Any]:
    """Return the content of an output folder's `metrics.json`."""
    return {
        "format": FORMAT,
        "baseline": summary.baseline,
        "evaluations": [{"folder": one.folder, **metrics_json(one.metrics)} for one in summary.evaluations],
        "comparisons": [
            {
                "baseline": one.baseline,
                "candidate": one.candidate,
                "benchmark": one.benchmark,
                **{name: found for name, found in asdict(one.scores).items() if found is not None},
            }
            for one in summary.comparisons
        ],
        "left_out": list(summary.left_out),
    }


def parse_summary(text: str) -> EvaluationSummary:
    """Read an output folder's `metrics.json`."""
    data = _json_object(text)
    require_at(data, _require_format, "format")
    require_at(data, require_text, "baseline")
    require_at(data, _require_list, "evaluations", "comparisons", "left_out")
    for sentence in data["left_out"]:
        require_text("a sentence of left_out", sentence)
    for one in (*data["evaluations"], *data["comparisons"]):
        require_mapping("an evaluation or a comparison", one)
    for one in data["evaluations"]:
        require_at(one, require_text, "folder")
    return EvaluationSummary(
        data["baseline"],
        tuple(SummarizedEvaluation(one["folder"], _metrics(one)) for one in data["evaluations"]),
        tuple(_comparison(one) for one in data["comparisons"]),
        tuple(data["left_out"]),
    )


def _metrics(data: Mapping[str, Any]) -> EvaluationMetrics:
    require_at(data, _require_format, "format")
    require_at(data, require_text, "model", "benchmark")
    require_at(data, _require_positive, "problems", "n")
    require_at(data, unless_null(require_count), "step")
    require_at(data, require_probability, "unanswered", "truncated")
    require_at(data, require_number, "tokens.mean", "tokens.median", "tokens.max", "tokens.total")
    require_at(data, require_mapping, "pass_at_k", "maj_at_k", "sources", "grader")
    unless_null(require_text)("benchmark_sha256", data.get("benchmark_sha256"))
    n = data["n"]
    made: dict[str, Any] = {
        "benchmark_sha256": data.get("benchmark_sha256"),  # older results lack it
        "mean": _estimate("mean", _get(data, "mean")),
        "pass_at_k": _curve("pass_at_k", data["pass_at_k"], range(1, n + 1)),
        "maj_at_k": _curve("maj_at_k", data["maj_at_k"], powers(n)),
        "sources": {source: _source(source, found) for source, found in data["sources"].items()},
        "tokens": TokenCounts(**_known(TokenCounts, data["tokens"])),
        "second_opinion": _second_opinion(data),
    }
    return EvaluationMetrics(**{**_known(EvaluationMetrics, data), **made})


def _source(name: str, found: Any) -> SourceScore:
    problems = _get(found, "problems")
    require_count(f"the problems of source {name!r}", problems)
    return SourceScore(problems, _estimate(f"the mean of source {name!r}", _get(found, "mean")))


def _second_opinion(data: Mapping[str, Any]) -> SecondOpinion | None:
    if _get(data, "second_opinion") is None:
        return None
    require_at(data, require_probability, "second_opinion.correct")
    require_at(data, require_count, "second_opinion.disagreements")
    return SecondOpinion(**_known(SecondOpinion, data["second_opinion"]))


def _comparison(data: Mapping[str, Any]) -> ModelComparison:
    require_at(data, require_text, "baseline", "candidate")
    require_at(data, unless_null(require_text), "benchmark")
    mean, maj = (_paired(name, _get(data, name)) for name in ("mean", "maj"))
    pass_at_n = _paired("pass_at_n", data["pass_at_n"]) if "pass_at_n" in data else None
    return ModelComparison(
        data["baseline"], data["candidate"], data["benchmark"], TableComparison(mean, maj, pass_at_n)
    )


def _paired(name: str, data: Any) -> PairedDifference:
    limits = [_get(data, f"difference.{key}") for key in ("value", "low", "high")]
    for limit in limits:
        if limit not in (-math.inf, math.inf):  # infinite limits are those of a single problem, which has no interval
            require_number(f"the difference of {name}", limit)
    require_at(data, require_count, "better", "worse", "problems")
    return PairedDifference(Estimate(*limits), data["better"], data["worse"], data["problems"])


def _estimate(name: str, value: Any) -> Estimate:
    low, middle, high = (_get(value, key) for key in ("low", "value", "high"))
    for bound in (low, middle, high):
        require_probability(name, bound)
    if not low - ROUNDING <= middle <= high + ROUNDING:
        raise InvalidInputError(f"{name} must lie in its interval; got {middle} in [{low}, {high}].")
    return Estimate(middle, low, high)


def _curve(name: str, curve: Mapping[str, Any], ks: Collection[int]) -> dict[int, Estimate]:
    if len(curve) != len(ks) or any(str(k) not in curve for k in ks):
        raise InvalidInputError(f"{name} must have {len(ks)} values of k.")
    return {k: _estimate(f"{name} at {k}", curve[str(k)]) for k in ks}


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a mapping that are fields of a dataclass; a later version may have written more."""
    names = {one.name for one in fields(kind)}
    return {key: value for key, value in data.items() if key in names}


def _require_format(name: str, value: Any) -> None:
    if value != FORMAT:
        raise InvalidInputError(f"{name} is {value!r}, but this version reads {FORMAT}.")


def _require_list(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise InvalidInputError(f"{name} must be a list; got {shortened(value)}.")


def _require_positive(name: str, value: Any) -> None:
    require_count(name, value)
    if value == 0:
        raise InvalidInputError(f"{name} must be at least 1.")


def unless_null(check: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    """Return a check that lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


def _json_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"it is not valid JSON ({error}).") from error
    require_mapping("its content", data)
    return dict(data)


def _get(data: Mapping[str, Any], dotted: str) -> Any:
    found: Any = data
    for key in dotted.split("."):
        if not isinstance(found, Mapping) or key not in found:
            raise InvalidInputError(f"{dotted} is missing.")
        found = found[key]
    return found


def require_at(data: Mapping[str, Any], check: Callable[[str, Any], None], *names: str) -> None:
    """Check values of a mapping by their dotted names.

    Raises:
        InvalidInputError: If one is missing or fails.
    """
    for name in names:
        check(name, _get(data, name))
