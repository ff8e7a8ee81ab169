"""One evaluation on disk: one model on one benchmark.

    manifest.json   what the samples are: model, benchmark, sampling, and the versions that sampled
    samples.jsonl   one response a line, appended as they finish: problem, sample, text, finish_reason, tokens,
                    prompt_tokens; never rewritten, so that a killed evaluation goes on where it stopped
    grades.jsonl    one line a response, by problem and sample: answer, correct, second (the second opinion), truncated
    problems.csv    one line a problem, see `verl_vip.evaluation.metrics`
    metrics.json    the result, see `verl_vip.evaluation.metrics`; written last, so that where it is, all is there

The manifest is about the samples alone: grading them anew needs no new samples.
"""

import csv
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verl_vip.durable_files import cut_torn_line, replace_file, replace_json
from verl_vip.errors import StateError
from verl_vip.evaluation.benchmarks import Benchmark
from verl_vip.evaluation.models import ModelSource
from verl_vip.evaluation.sampling import SamplingSettings

FORMAT = 1

_SYNC_EVERY_S = 1.0
_RESULTS = ("grades.jsonl", "problems.csv", "metrics.json")
#: What `metrics.json` is read for.
METRIC_KEYS = frozenset(
    {"format", "model", "step", "benchmark", "problems", "n", "mean", "pass_at_k", "maj_at_k", "sources"}
    | {"unanswered", "truncated", "tokens", "grader", "second_opinion"}
)


@dataclass(frozen=True)
class Sample:
    """One response as it is kept; fields as in `samples.jsonl`."""

    problem: str
    sample: int
    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int


def make_manifest(
    model: ModelSource, sha256: str, benchmark: Benchmark, settings: SamplingSettings, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Return what tells these samples from any others, as JSON can hold it."""
    return {
        "format": FORMAT,
        "model": {
            "label": model.label,
            "origin": model.origin,
            "kind": model.kind,
            "step": model.step,
            "sha256": sha256,
        },
        "benchmark": {
            "name": benchmark.name,
            "origin": dict(benchmark.origin),
            "problems": len(benchmark.problems),
            "sha256": benchmark.sha256,
        },
        "sampling": asdict(settings),
        "versions": dict(versions),
    }


class ResultFolder:
    """Reads and writes the folder of one evaluation. One process at a time; the caller sees to that.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._synced = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether all samples are there and graded."""
        return all((self.path / name).is_file() for name in _RESULTS)

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin an evaluation, or go on with the one that is here.

        Raises:
            StateError: If the folder holds the samples of another model, benchmark or settings; or unfinished ones
                that were sampled with other versions. The message names what differs.
        """
        path = self.path / "manifest.json"
        if not path.is_file():
            if (self.path / "samples.jsonl").is_file():
                raise StateError(f"{self.path} has samples but no manifest; remove the folder or give another output.")
            self.path.mkdir(parents=True, exist_ok=True)
            replace_json(path, {**manifest, "started_at": round(time.time(), 3)})
            return
        there = read_json(path)
        compared = (
            "format",
            "benchmark.sha256",
            "model.sha256",
            "sampling",
            *([] if self.is_finished else ["versions"]),
        )
        differing = [line for key in compared for line in _differences(key, _get(there, key), _get(manifest, key))]
        if differing:
            raise StateError(
                f"{self.path} holds samples of something else: {'; '.join(differing)}. Give another --output, or "
                "remove that folder to sample anew."
            )

    def manifest(self) -> dict[str, Any]:
        """Return the manifest."""
        return read_json(self.path / "manifest.json")

    def samples(self) -> list[Sample]:
        """Return the samples in the order written; a last line torn by a kill is left out.

        Raises:
            StateError: If a line is not a sample, or a sample is there twice.
        """
        path = self.path / "samples.jsonl"
        if not path.is_file():
            return []
        *lines, _ = path.read_bytes().split(b"\n")
        found: dict[tuple[str, int], Sample] = {}
        for number, line in enumerate(lines, start=1):
            try:
                sample = Sample(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise StateError(f"{path}, line {number} is damaged ({error}); remove the line.") from error
            if found.setdefault((sample.problem, sample.sample), sample) is not sample:
                raise StateError(f"{path}, line {number} repeats sample {sample.sample} of {sample.problem}.")
        return list(found.values())

    def append(self, samples: Sequence[Sample]) -> None:
        """Add samples; they outlive the process at once, and a power cut after at most a second."""
        path = self.path / "samples.jsonl"
        with path.open("ab+") as file:
            cut_torn_line(file)
            file.writelines(json.dumps(asdict(sample)).encode() + b"\n" for sample in samples)
            file.flush()
            if time.monotonic() - self._synced > _SYNC_EVERY_S:
                os.fsync(file.fileno())
                self._synced = time.monotonic()

    def finish(
        self, grades: Iterable[Mapping[str, Any]], problems: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
    ) -> None:
        """Write grades, the table of problems and the metrics, replacing any earlier ones; the metrics last."""
        (self.path / "metrics.json").unlink(missing_ok=True)
        replace_file(self.path / "grades.jsonl", "".join(json.dumps(dict(grade)) + "\n" for grade in grades).encode())
        with (self.path / ".problems.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, fieldnames=list(problems[0]))
            table.writeheader()
            table.writerows(problems)
        (self.path / ".problems.csv").replace(self.path / "problems.csv")
        replace_json(self.path / "metrics.json", metrics)

    def metrics(self) -> dict[str, Any]:
        """Return the metrics of a finished evaluation.

        Raises:
            StateError: If they are damaged.
        """
        path = self.path / "metrics.json"
        metrics = read_json(path)
        if missing := sorted(METRIC_KEYS - metrics.keys()):
            raise StateError(
                f"{path} is damaged ({missing[0]} is missing); remove it, and evaluating again grades anew."
            )
        return metrics

    def grades(self) -> list[dict[str, Any]]:
        """Return the grades of a finished evaluation."""
        return [json.loads(line) for line in (self.path / "grades.jsonl").read_text(encoding="utf-8").splitlines()]

    def problems(self) -> list[dict[str, str]]:
        """Return the table of problems of a finished evaluation, cells as text."""
        with (self.path / "problems.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file.

    Raises:
        StateError: If it is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StateError(f"{path} is damaged ({error}); remove it.") from error
    if not isinstance(data, dict):
        raise StateError(f"{path} holds no JSON object; remove it.")
    return data


def _get(data: Mapping[str, Any], dotted: str) -> Any:
    found: Any = data
    for key in dotted.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _differences(key: str, there: Any, here: Any) -> list[str]:
    if key.endswith(".sha256") and there is not None:
        return [] if there == here else [f"the content of the {key.removesuffix('.sha256')} is another"]
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        return [
            line
            for name in {**there, **here}
            for line in _differences(f"{key}.{name}", there.get(name), here.get(name))
        ]
    return [] if there == here else [f"{key} is {there} there and {here} here"]
