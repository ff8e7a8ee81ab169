"""The folder of one evaluation: one model on one benchmark.

    manifest.json   describes the samples: model, benchmark, sampling settings and package versions; benchmark and n
                    are those of the last evaluation
    samples.jsonl   one line per response, appended as responses finish: problem, sample, text, finish_reason, tokens,
                    prompt_tokens; never rewritten, so that a killed evaluation continues where it stopped
    grades.jsonl    one line per response, by problem and sample: answer, correct, second (second opinion), truncated
    problems.csv    one line per problem, see `verl_vip.evaluation.result_rows`
    metrics.json    the result, see `verl_vip.evaluation.result_files`; written last, so that it marks a complete folder

Samples depend on the model, the prompts and the sampling settings, which the manifest records. Grades depend on the
samples, the answers and the grader. If only these change, the same samples are graded again and nothing is sampled.
"""

import csv
import json
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verl_vip.durable_files import cut_torn_line, replace_file, replace_json
from verl_vip.errors import InvalidInputError, StateError
from verl_vip.evaluation.benchmarks import Benchmark
from verl_vip.evaluation.metrics import Graded, ProblemRow
from verl_vip.evaluation.models import ModelSource
from verl_vip.evaluation.result_files import (
    manifest_json,
    metrics_json,
    parse_manifest,
    parse_metrics,
    read_result,
)
from verl_vip.evaluation.result_rows import grade_json, problem_cells
from verl_vip.evaluation.results import (
    EvaluatedBenchmark,
    EvaluatedModel,
    EvaluationManifest,
    EvaluationMetrics,
    Sample,
)
from verl_vip.evaluation.sampling import SamplingSettings
from verl_vip.json_lines import read_json_lines

_LOG = logging.getLogger(__name__)

_SYNC_EVERY_S = 1.0
_RESULTS = ("grades.jsonl", "problems.csv", "metrics.json")


def make_manifest(
    model: ModelSource, sha256: str, benchmark: Benchmark, settings: SamplingSettings, versions: Mapping[str, str]
) -> EvaluationManifest:
    """Return the description that identifies these samples."""
    return EvaluationManifest(
        EvaluatedModel(model.label, model.origin, model.kind, model.step, sha256),
        EvaluatedBenchmark(benchmark.name, dict(benchmark.origin), len(benchmark.problems), benchmark.sha256),
        asdict(settings),
        dict(versions),
    )


class ResultFolder:
    """Reads and writes the folder of one evaluation. The caller ensures that only one process uses it at a time.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._synced = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether all samples exist and are graded."""
        return all((self.path / name).is_file() for name in _RESULTS)

    def open(self, manifest: EvaluationManifest, problems: Sequence[str]) -> list[tuple[str, int]]:
        """Begin an evaluation, or continue the one in the folder.

        Samples are reused if the model, the prompts and the sampling settings are the same. With a larger n or more
        problems only the missing samples have to be drawn, and with a smaller n the first n samples are used. Metrics
        of samples that no longer exist are removed.

        Args:
            manifest: The manifest, as `make_manifest` returns it.
            problems: The ids of the benchmark's problems.

        Returns:
            The missing samples, each as its problem and its number.

        Raises:
            StateError: If the folder has samples of another model, other prompts or other settings, or if samples are
                missing and the existing ones were drawn with other package versions. The message names the differences.
        """
        path = self.path / "manifest.json"
        sampled = {(sample.problem, sample.sample) for sample in self.samples()}
        n, here = int(manifest.sampling["n"]), manifest_json(manifest)
        missing = [(problem, number) for problem in problems for number in range(n) if (problem, number) not in sampled]
        if not path.is_file() and sampled:
            raise StateError(f"{self.path} has samples but no manifest; remove the folder or give another output.")
        there = _read_json(path) if path.is_file() else {}
        if sampled:
            self._require_same(there, here, problems, sampled, bool(missing))
            updated = {**there, "benchmark": here["benchmark"], "sampling": here["sampling"]}
        else:
            updated = {**here, "started_at": round(time.time(), 3)}
        if self.is_finished and missing and min(number for _, number in missing) < self.metrics().n:
            (self.path / "metrics.json").unlink()
        if updated != there:
            replace_json(path, updated)
        if (most := 1 + max((number for _, number in sampled), default=-1)) > n:
            _LOG.info("%s holds %d samples of each problem; the first %d are used.", self.path, most, n)
        elif sampled and missing:
            _LOG.info("%s holds %d samples; the missing %d are sampled.", self.path, len(sampled), len(missing))
        return missing

    def _require_same(
        self,
        there: Mapping[str, Any],
        here: Mapping[str, Any],
        problems: Sequence[str],
        sampled: Collection[tuple[str, int]],
        some_missing: bool,
    ) -> None:
        compared = ["format", "model.sha256", "sampling", *(["versions"] if some_missing else [])]
        differing = [line for key in compared for line in _differences(key, _get(there, key), _get(here, key))]
        if others := {problem for problem, _ in sampled}.difference(problems):
            differing.append(f"{len(others)} of the problems sampled there are not in the benchmark")
        if differing:
            raise StateError(
                f"{self.path} holds samples of another evaluation: {'; '.join(differing)}. Give another --output, or "
                "remove that folder to sample again."
            )

    def manifest(self) -> EvaluationManifest:
        """Return the manifest.

        Raises:
            StateError: If the manifest is damaged.
        """
        return read_result(self.path / "manifest.json", parse_manifest)

    def samples(self) -> list[Sample]:
        """Return the samples in the order written; an incomplete last line, left by a killed process, is skipped.

        Raises:
            StateError: If a line is not a sample, or a sample occurs twice.
        """
        path = self.path / "samples.jsonl"
        if not path.is_file():
            return []
        found: dict[tuple[str, int], Sample] = {}
        for number, line in _lines(path):
            try:
                sample = Sample(**line)
            except TypeError as error:
                raise StateError(f"{path}, line {number} is damaged ({error}); remove the line.") from error
            if found.setdefault((sample.problem, sample.sample), sample) is not sample:
                raise StateError(f"{path}, line {number} repeats sample {sample.sample} of {sample.problem}.")
        return list(found.values())

    def append(self, samples: Sequence[Sample]) -> None:
        """Append samples. They survive the end of the process at once, and a power failure after at most a second."""
        path = self.path / "samples.jsonl"
        with path.open("ab+") as file:
            cut_torn_line(file)
            file.writelines(json.dumps(asdict(sample)).encode() + b"\n" for sample in samples)
            file.flush()
            if time.monotonic() - self._synced > _SYNC_EVERY_S:
                os.fsync(file.fileno())
                self._synced = time.monotonic()

    def finish(self, graded: Iterable[Graded], problems: Sequence[ProblemRow], metrics: EvaluationMetrics) -> None:
        """Write the grades, the table of problems and, last, the metrics; earlier ones are replaced."""
        (self.path / "metrics.json").unlink(missing_ok=True)
        lines = "".join(json.dumps(grade_json(one)) + "\n" for one in graded)
        replace_file(self.path / "grades.jsonl", lines.encode())
        rows = [problem_cells(row) for row in problems]
        with (self.path / ".problems.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, fieldnames=list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        (self.path / ".problems.csv").replace(self.path / "problems.csv")
        replace_json(self.path / "metrics.json", metrics_json(metrics))

    def metrics(self) -> EvaluationMetrics:
        """Return the metrics of a finished evaluation.

        Raises:
            StateError: If the metrics are damaged.
        """
        return read_result(self.path / "metrics.json", parse_metrics)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StateError(f"{path} is damaged ({error}); remove it.") from error
    if not isinstance(data, dict):
        raise StateError(f"{path} does not contain a JSON object; remove it.")
    return data


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        yield from read_json_lines(path, appended=True)
    except InvalidInputError as error:
        raise StateError(f"{error} Remove that line.") from error


def _get(data: Mapping[str, Any], dotted: str) -> Any:
    found: Any = data
    for key in dotted.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _differences(key: str, there: Any, here: Any) -> list[str]:
    if key == "sampling.n":  # the number of samples does not change the samples themselves
        return []
    if key.endswith(".sha256") and there is not None:
        return [] if there == here else [f"the content of the {key.removesuffix('.sha256')} differs"]
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        return [
            line
            for name in {**there, **here}
            for line in _differences(f"{key}.{name}", there.get(name), here.get(name))
        ]
    return [] if there == here else [f"{key} is {there} there, but {here} here"]
