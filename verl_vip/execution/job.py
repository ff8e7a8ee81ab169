"""Jobs, their states, and the interface of executors."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from verl_vip.errors import InvalidInputError
from verl_vip.names import LONGEST_DERIVED_NAME, require_name


class JobState(StrEnum):
    """The state of an attempt at a job."""

    PENDING = "pending"
    """Accepted, not started."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """Ended on its own with exit code 0."""
    FAILED = "failed"
    """Ended on its own with another exit code."""
    STOPPED = "stopped"
    """Ended on request."""
    LOST = "lost"
    """Ended from outside: it was killed, or its machine failed."""

    @property
    def is_live(self) -> bool:
        """Whether the attempt may still run."""
        return self in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True)
class Job:
    """A command that runs at most once at a time under its name.

    Attributes:
        name: A name that `verl_vip.names` allows, up to the length of derived names. Starting a job whose name is live
            attaches to the live one.
        command: Program and arguments.
        folder: The absolute path of the folder with the job's files. The local executor keeps its own files there too.
        fingerprint: The fingerprint of the settings that define the job. A start does not attach to a live job with
            another fingerprint.
        environment: Variables to add to the executor's environment. `{attempt}` in a value becomes the number of the
            attempt, and `{time}` the Unix time of its start. A new cluster counts attempts from 1 again.

    Raises:
        InvalidInputError: If the name is not allowed, the folder is relative, or the operating system cannot pass the
            command or the variables to a process.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    fingerprint: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_name(self.name, "a run", longest=LONGEST_DERIVED_NAME)
        if not self.folder.is_absolute():
            raise InvalidInputError(
                f"a job's folder must be an absolute path, because other processes look for it; got {self.folder}."
            )
        for word in (*self.command, str(self.folder)):
            if not _passes(word):
                raise InvalidInputError(
                    f"the command of {self.name} must not contain {word!r}; remove the NUL character or lone "
                    "surrogate from it."
                )
        for name, value in self.environment.items():
            if not name or "=" in name or not _passes(name) or not _passes(value):
                raise InvalidInputError(
                    f"{self.name} cannot have the environment variable {name!r}={value!r}; its name must not be empty "
                    "or contain '=', and neither part may contain a NUL character or a lone surrogate."
                )


@dataclass(frozen=True)
class JobStatus:
    """The status of the latest attempt at a job.

    Attributes:
        attempt: The number of the attempt, counted from 1.
        state: The state of the attempt.
        fingerprint: The fingerprint of the settings that the attempt was started with.
        exit_code: The exit code of the command, negative for a signal; None while it runs, or if its end was not
            observed.
        message: A sentence on how the attempt ended, or empty.
    """

    attempt: int
    state: JobState
    fingerprint: str
    exit_code: int | None = None
    message: str = ""

    @property
    def was_killed(self) -> bool:
        """Whether the attempt was ended from outside, so that another attempt may succeed."""
        by_signal = self.exit_code is not None and self.exit_code < 0
        return self.state is JobState.LOST or (self.state is JobState.FAILED and by_signal)


class Executor(Protocol):
    """Runs jobs. Executors of the same kind see the same jobs, even from different processes."""

    where: str
    """A description of the place where the jobs run, for messages."""

    def start(self, job: Job) -> JobStatus:
        """Start a new attempt, or return the live one. Only one of several simultaneous callers starts it.

        Raises:
            ConfigError: If a live job of this name has another fingerprint.
            JobError: If the job cannot be started.
            UnreachableError: If the executor does not answer.
        """
        ...

    def status(self, job: Job) -> JobStatus | None:
        """Return the status of the latest attempt, or None if there was none.

        Raises:
            UnreachableError: If the executor does not answer.
        """
        ...

    def read_log(self, job: Job, position: int) -> tuple[list[str], int]:
        """Return the complete lines that the latest attempt printed after a position, and the next position.

        Args:
            job: The job.
            position: 0 for the beginning of the attempt, and later the position that the last call returned.

        Raises:
            UnreachableError: If the executor does not answer.
        """
        ...

    def stop(self, job: Job) -> None:
        """End the live attempt with all its processes, and wait until it has ended; return at once if there is none.

        Raises:
            JobError: If the attempt does not end.
            UnreachableError: If the executor does not answer.
        """
        ...


def _passes(word: str) -> bool:
    """Return whether this word can be passed to a process."""
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


def fingerprint(settings: Any) -> str:
    """Return the SHA-256 of settings that JSON can express."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def environment_of(environment: Mapping[str, str], attempt: int) -> dict[str, str]:
    """Return a job's variables for an attempt that starts now, with its number and time filled in."""
    number, now = str(attempt), str(int(time.time()))
    return {name: value.replace("{attempt}", number).replace("{time}", now) for name, value in environment.items()}
