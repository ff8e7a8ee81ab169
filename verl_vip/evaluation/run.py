"""Evaluates models on benchmarks: draws the missing samples, grades them, and computes the metrics.

    OUTPUT/metrics.json                all evaluations in the folder and their comparisons, see `summary_json`
    OUTPUT/report.html                 the same as a report
    OUTPUT/MODEL/BENCHMARK/            one evaluation, see `verl_vip.evaluation.folder`
    OUTPUT/MODEL/model/                the Hugging Face model of a sharded checkpoint, with merge.log next to it

A repeated evaluation samples nothing. After an interruption, or with a larger n, only the missing samples are drawn.
With another grader, or with corrected answers, the same samples are graded again.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from verl_vip.errors import ConfigError, IntegrationError
from verl_vip.evaluation.benchmarks import Benchmark, require_different
from verl_vip.evaluation.folder import ResultFolder, make_manifest
from verl_vip.evaluation.grading import Grader
from verl_vip.evaluation.metrics import grade_samples, problem_rows, summarize
from verl_vip.evaluation.models import ModelSource
from verl_vip.evaluation.results import Sample
from verl_vip.evaluation.sampling import Request, Response, Sampler, SamplingSettings, sample_seed
from verl_vip.execution.exclusive import exclusive

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class GradedBenchmark:
    """A benchmark and its grader."""

    benchmark: Benchmark
    grader: Grader


@dataclass(frozen=True)
class Evaluator:
    """Evaluates one model after the other.

    Attributes:
        output: The folder for all results.
        settings: The sampling settings.
        sampler: Samples the responses.
        convert: Converts a sharded checkpoint to a Hugging Face model in the given folder.
    """

    output: Path
    settings: SamplingSettings
    sampler: Sampler
    convert: Callable[[ModelSource, Path], Path]

    def run(self, models: Sequence[ModelSource], tasks: Sequence[GradedBenchmark]) -> list[ResultFolder]:
        """Evaluate every model on every benchmark, and return the folders, ordered by model and then by benchmark.

        Raises:
            ConfigError: If two benchmarks have the same name, a grader cannot grade a problem, or another process uses
                the same folder.
            StateError: If a folder has samples of another model, other prompts or other settings.
            IntegrationError: If the sampler does not return every response.
        """
        _check(tasks)
        with exclusive(self.output / ".lock", f"the evaluation in {self.output}"):
            return [folder for model in models for folder in self._evaluate(model, tasks)]

    def _evaluate(self, model: ModelSource, tasks: Sequence[GradedBenchmark]) -> list[ResultFolder]:
        sha256 = model.sha256
        versions = self.sampler.versions()
        folders = []
        missing = []
        for task in tasks:
            folder = ResultFolder(self.output / model.label / task.benchmark.name)
            manifest = make_manifest(model, sha256, task.benchmark, self.settings, versions)
            missing.append(folder.open(manifest, [problem.id for problem in task.benchmark.problems]))
            folders.append(folder)
        self._sample(model, tasks, folders, missing)
        for task, folder in zip(tasks, folders, strict=True):
            self._grade(task, folder)
        return folders

    def _sample(
        self,
        model: ModelSource,
        tasks: Sequence[GradedBenchmark],
        folders: Sequence[ResultFolder],
        missing: Sequence[Sequence[tuple[str, int]]],
    ) -> None:
        """Draw the missing samples for all benchmarks together, so that the model is loaded only once."""
        places: dict[str, tuple[int, str, int]] = {}
        requests = []
        for index, task in enumerate(tasks):
            prompts = {problem.id: problem.prompt for problem in task.benchmark.problems}
            for problem, number in missing[index]:
                key = f"{task.benchmark.name}/{problem}/{number}"
                places[key] = index, problem, number
                requests.append(Request(key, prompts[problem], sample_seed(self.settings.seed, problem, number)))
        if not requests:
            _LOG.info("%s: all samples exist already", model.label)
            return
        total = self.settings.n * sum(len(task.benchmark.problems) for task in tasks)
        path = model.path if model.kind == "huggingface" else self.convert(model, self.output / model.label / "model")
        with tqdm(total=total, initial=total - len(requests), desc=model.label, unit=" samples", mininterval=1) as bar:
            for responses in self.sampler.sample(path, requests, self.settings):
                batches: dict[int, list[Sample]] = {}
                for response in responses:
                    index, problem_id, number = places.pop(response.key)
                    batches.setdefault(index, []).append(_kept(response, problem_id, number))
                for index, samples in batches.items():
                    folders[index].append(samples)
                bar.update(len(responses))
        if places:
            raise IntegrationError(
                f"the sampler left out {len(places)} of {len(requests)} responses; run the same command again."
            )

    def _grade(self, task: GradedBenchmark, folder: ResultFolder) -> None:
        grader = dict(task.grader.describe())
        if folder.is_finished:
            there = folder.metrics()
            wanted = self.settings.n, task.benchmark.sha256, grader
            if (there.n, there.benchmark_sha256, there.grader) == wanted:
                return
        samples = [sample for sample in folder.samples() if sample.sample < self.settings.n]
        graded = grade_samples(task.benchmark, samples, task.grader)
        metrics = summarize(task.benchmark, graded, folder.manifest().model, grader)
        flat = (one for group in graded.values() for one in group)
        folder.finish(flat, problem_rows(task.benchmark, graded), metrics)


def _kept(response: Response, problem: str, sample: int) -> Sample:
    return Sample(problem, sample, response.text, response.finish_reason, response.tokens, response.prompt_tokens)


def _check(tasks: Sequence[GradedBenchmark]) -> None:
    require_different([task.benchmark.name for task in tasks])
    for task in tasks:
        for problem in task.benchmark.problems:
            try:
                task.grader.check(problem)
            except ConfigError as error:
                raise ConfigError(f"{task.benchmark.name}, row {problem.row}: {error}") from error
