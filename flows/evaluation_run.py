"""The evaluation of one run: its checkpoints, benchmarks and sampling settings, and the machine that it runs on."""

import hashlib
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from verl_vip.annotations import check_fields
from verl_vip.errors import ConfigError
from verl_vip.evaluation.benchmarks import benchmark_name, require_different
from verl_vip.evaluation.models import Checkpoints, find_checkpoints
from verl_vip.execution import Executor, Job, fingerprint, is_complete
from verl_vip.execution.ray_variables import refuse_secrets
from verl_vip.flows.parameters import FollowingParameters, require_address
from verl_vip.flows.training_run import connect
from verl_vip.names import require_name


@dataclass(frozen=True, kw_only=True)
class EvaluationRun(FollowingParameters):
    """The evaluation of one run, with a job for each checkpoint.

    Raises:
        ConfigError: If a value has the wrong type or is out of range, `root` is relative, no benchmark is named, two
            have the same name, or a variable for a cluster looks like a secret.
        InvalidInputError: If the name is not valid for a run, or a benchmark's name is not valid for a folder.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        if not Path(self.root).is_absolute():
            raise ConfigError(f"root must be an absolute path, since other processes look there; got {self.root!r}.")
        if not self.benchmarks:
            raise ConfigError("name at least one benchmark, such as aime24.")
        if self.cluster is not None:
            require_address(self.cluster)
            refuse_secrets(self.environment, self.cluster)
        require_name(self.name, "a run")
        require_different([benchmark_name(spec) for spec in self.benchmarks])
        self.job(0)

    @property
    def run_folder(self) -> Path:
        """The folder with the run's checkpoints."""
        return Path(self.root) / self.name

    @property
    def output(self) -> Path:
        """The folder of the results."""
        return self.run_folder / "evaluation"

    def check(self) -> None:
        """Refuse a run without a folder, unless its training may still begin.

        Raises:
            ConfigError: If there is no such run.
        """
        if not self.follow and not self.run_folder.is_dir():
            raise ConfigError(f"there is no run {self.name} in {self.root}; correct the name or the root.")

    def checkpoints(self) -> Checkpoints:
        """Return the run's complete checkpoints; none if its folder does not exist yet."""
        return find_checkpoints(self.run_folder) if self.run_folder.is_dir() else Checkpoints({}, {})

    def pending(self) -> list[int]:
        """Return the complete checkpoints that are not yet evaluated with these settings, in ascending order."""
        return [step for step in self.checkpoints().models if not self.is_done(step)]

    def has_checkpoints(self) -> bool:
        """Return whether any checkpoint is complete or evaluated."""
        found = self.checkpoints()
        return bool(found.models) or any(map(self.is_done, found.unusable))

    def passed_over(self) -> Checkpoints:
        """Return the checkpoints that are not evaluated and no longer can be."""
        unusable = self.checkpoints().unusable
        return Checkpoints({}, {step: why for step, why in unusable.items() if not self.is_done(step)})

    def is_done(self, step: int) -> bool:
        """Return whether this checkpoint is evaluated."""
        job = self.job(step)
        return is_complete(job.folder, job.fingerprint)

    def job(self, step: int) -> Job:
        """Return the job that evaluates one checkpoint; its command continues an interrupted evaluation."""
        words = ["--benchmark", *self.benchmarks, "--n", str(self.n), *self.options]
        python = self.python or (sys.executable if self.cluster is None else "python")
        return Job(
            name=f"{self.name}-evaluate-{step}",
            command=(
                *(python, "-m", "verl_vip.cli", "evaluate", str(self.run_folder)),
                *("--steps", str(step), "--output", str(self.output)),
                *words,
            ),
            folder=self.output / "jobs" / f"step_{step}",
            fingerprint=fingerprint({"words": words, "environment": dict(self.environment), **self._files}),
            environment={"PYTHONUNBUFFERED": "1", **self.environment},
        )

    @cached_property
    def _files(self) -> dict[str, Any]:
        """Return hashes of the benchmark and grader files: with other answers, it is another evaluation."""
        texts = [part for word in (*self.benchmarks, *self.options) for part in (word, word.partition("=")[2])]
        places = {place for text in texts for place in (text, text.rpartition(":")[0]) if os.path.isfile(place)}
        hashes = {place: hashlib.sha256(Path(place).read_bytes()).hexdigest() for place in sorted(places)}
        return {"files": hashes} if hashes else {}

    def executor(self) -> Executor:
        """Connect to the executor of the jobs.

        Raises:
            UnreachableError: If the cluster does not answer.
        """
        return connect(self.cluster)

    def sampled_bytes(self) -> int:
        """Return the bytes sampled so far, which show whether an attempt made progress."""
        return sum(path.stat().st_size for path in self.output.glob("*/*/samples.jsonl"))

    def training_is_live(self) -> bool:
        """Return whether the run's training job is live, as far as this evaluation's executor knows."""
        status = self.executor().status(Job(self.name, (), self.run_folder, ""))
        return status is not None and status.state.is_live
