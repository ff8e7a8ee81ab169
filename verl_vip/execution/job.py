"""What a job is, and the interface of everything that runs jobs."""

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
    """Where an attempt at a job stands."""

    PENDING = "pending"
    """Accepted, not started."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """Ended by itself with status 0."""
    FAILED = "failed"
    """Ended by itself with another status."""
    STOPPED = "stopped"
    """Ended because somebody asked for it."""
    LOST = "lost"
    """Ended from outside: killed, or its machine went away."""

    @property
    def is_live(self) -> bool:
        """Whether the job may still do something."""
        return self in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True)
class Job:
    """A command that runs at most once at a time under its name.

    Attributes:
        name: As `verl_vip.names` allows, with room for what a run's name is extended by. A second start of a live name
            attaches to it.
        command: Program and arguments.
        folder: Absolute. What belongs to the job lies there; the local executor keeps its files there too.
        fingerprint: Of the settings that make the job what it is; a live job with another one is not attached to.
        environment: Added to the environment that the executor gives. `{attempt}` in a value becomes the
            attempt's number, and `{time}` the Unix time of its start; a new cluster counts attempts from 1 again.

    Raises:
        InvalidInputError: If the name has other characters, the folder is relative, or no process can be given such a
            command or such variables.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    fingerprint: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_name(self.name, "a run", longest=LONGEST_DERIVED_NAME)
        if not self.folder.is_absolute():
            raise InvalidInputError(f"a job's folder must be absolute, since others look for it; got {self.folder}.")
        for word in (*self.command, str(self.folder)):
            if not _passes(word):
                raise InvalidInputError(
                    f"the command of {self.name} cannot hold {word!r}; no process takes a NUL or half a character."
                )
        for name, value in self.environment.items():
            if not name or "=" in name or not _passes(name) or not _passes(value):
                raise InvalidInputError(
                    f"{self.name} cannot have the environment variable {name!r}={value!r}; a name is not empty and has "
                    "no '=', and no process takes a NUL or half a character."
                )


@dataclass(frozen=True)
class JobStatus:
    """What an executor knows of the latest attempt at a job.

    Attributes:
        attempt: Counted from 1.
        state: Where it stands.
        fingerprint: Of the settings it was started with.
        exit_code: Of the command, negative for a signal; None while it runs and where nobody saw the end.
        message: A sentence on how it ended, or empty.
    """

    attempt: int
    state: JobState
    fingerprint: str
    exit_code: int | None = None
    message: str = ""

    @property
    def was_killed(self) -> bool:
        """Whether it ended from outside, so that another attempt may well succeed."""
        by_signal = self.exit_code is not None and self.exit_code < 0
        return self.state is JobState.LOST or (self.state is JobState.FAILED and by_signal)


class Executor(Protocol):
    """Runs jobs. Two executors of one kind see the same jobs, in whatever process they are."""

    where: str
    """Where the jobs run, in words."""

    def start(self, job: Job) -> JobStatus:
        """Start a new attempt, or return the live one; of several callers at once one starts it.

        Raises:
            ConfigError: If a live job of this name has another fingerprint.
            JobError: If the job cannot be started.
            UnreachableError: If nobody answers.
        """
        ...

    def status(self, job: Job) -> JobStatus | None:
        """Return how the latest attempt stands, or None if there never was one.

        Raises:
            UnreachableError: If nobody answers.
        """
        ...

    def read_log(self, job: Job, position: int) -> tuple[list[str], int]:
        """Return the whole lines that the latest attempt printed after a position, and the next position.

        Args:
            job: The job.
            position: 0 for the beginning of the attempt, later what the last call returned.

        Raises:
            UnreachableError: If nobody answers.
        """
        ...

    def stop(self, job: Job) -> None:
        """End the live attempt with all its processes and wait for that; without one there is nothing to do.

        Raises:
            JobError: If it does not end.
            UnreachableError: If nobody answers.
        """
        ...


def _passes(word: str) -> bool:
    """Return whether a process can be given this word."""
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


def fingerprint(settings: Any) -> str:
    """Return the SHA-256 of settings that JSON can hold."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def environment_of(environment: Mapping[str, str], attempt: int) -> dict[str, str]:
    """Return a job's variables as the attempt of this number, which begins now, is to have them."""
    number, now = str(attempt), str(int(time.time()))
    return {name: value.replace("{attempt}", number).replace("{time}", now) for name, value in environment.items()}
