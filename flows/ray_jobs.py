"""Jobs on a Ray cluster, local or remote, through Ray's Jobs API.

The submission id contains the job's name, its place and the attempt's number. The cluster therefore knows all attempts,
and refuses one of two simultaneous submissions. The place is included because people who share a cluster may use the
same names, each in a folder of their own.
"""

import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient
from ray.job_submission import JobStatus as RayStatus

from verl_vip.errors import ConfigError, JobError, UnreachableError
from verl_vip.execution.job import Job, JobState, JobStatus, environment_of
from verl_vip.execution.ray_variables import refuse_secrets
from verl_vip.flows import loopback
from verl_vip.flows.parameters import require_address

_REQUEST_S = 60.0
_STOP_S = 120.0
_STATES = {
    RayStatus.PENDING: JobState.PENDING,
    RayStatus.RUNNING: JobState.RUNNING,
    RayStatus.SUCCEEDED: JobState.SUCCEEDED,
    RayStatus.STOPPED: JobState.STOPPED,
}


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, with a timeout for networks that drop packets, and without a proxy for this machine."""

    def _do_request(self, *args: Any, **kwargs: Any) -> Any:
        proxies = loopback.proxies(self.get_address())
        return super()._do_request(*args, **{"timeout": _REQUEST_S, "proxies": proxies, **kwargs})


class RayExecutor:
    """Runs jobs on the cluster behind a dashboard address.

    Nothing is shipped: the cluster's nodes need an environment with verl and verl-vip.

    Args:
        address: Address of the cluster's dashboard, such as `http://head:8265`.

    Raises:
        ConfigError: If the address is not valid, or the cluster requires a token that this process does not send.
        UnreachableError: If nothing answers at the address.
    """

    def __init__(self, address: str) -> None:
        require_address(address)
        self._address = address
        self.where = f"the Ray cluster at {address}"
        with self._answering():
            try:
                self._client = _Client(address)
            except (RuntimeError, KeyError, TypeError, ValueError) as error:  # not Ray, or a very old release
                raise UnreachableError(f"no Ray Jobs API answers at {address}: {error}") from error

    def start(self, job: Job) -> JobStatus:
        """Submit a new attempt, or return the live one; see `Executor`.

        Raises:
            ConfigError: For the reasons in `Executor`, or if a variable of the job looks like a secret.
        """
        refuse_secrets(job.environment, self._address)
        status = self.status(job)
        if status is None or not status.state.is_live:
            status = self._submit(job, 1 if status is None else status.attempt + 1)
        if status.fingerprint != job.fingerprint:
            raise ConfigError(
                f"{job.name} is already running on {self.where} with other settings; stop it, wait for it, or choose "
                "another name."
            )
        return status

    def status(self, job: Job) -> JobStatus | None:
        """Return the state of the latest attempt; see `Executor`."""
        details = self._latest(job)
        return None if details is None else _status(job, details)

    def read_log(self, job: Job, position: int) -> tuple[list[str], int]:
        """Return new whole lines of the latest attempt; see `Executor`."""
        details = self._latest(job)
        if details is None:
            return [], position
        with self._answering():
            try:
                text = self._client.get_job_logs(details.submission_id)[position:]
            except RuntimeError:
                return [], position  # the node with the log is gone; only the job's state is left
        if _STATES.get(details.status, JobState.FAILED).is_live:
            text = text[: text.rfind("\n") + 1]
        return text.splitlines(), position + len(text)

    def stop(self, job: Job) -> None:
        """Stop the live attempt; see `Executor`."""
        deadline = time.monotonic() + _STOP_S
        while (details := self._latest(job)) is not None and _status(job, details).state.is_live:
            if time.monotonic() > deadline:
                raise JobError(
                    f"{details.submission_id} does not stop on {self.where}; stop it there with `ray job stop`."
                )
            # Repeated, because Ray may forget the request while the job is pending (ray#58353).
            with self._answering():
                self._client.stop_job(details.submission_id)
            time.sleep(1)

    def _submit(self, job: Job, attempt: int) -> JobStatus:
        submission_id = _submission_id(job, attempt)
        try:
            with self._answering():
                self._client.submit_job(
                    # Ray starts the job through a shell, which would turn the signal that ended it into an exit status.
                    entrypoint=f"exec {shlex.join(job.command)}",
                    submission_id=submission_id,
                    runtime_env={"env_vars": environment_of(job.environment, attempt)},
                    metadata={"fingerprint": job.fingerprint, "name": job.name, "folder": str(job.folder)},
                )
        except RuntimeError as error:
            # Ray reports a taken id and a cluster without a free agent alike; the list of jobs tells them apart.
            status = self.status(job)
            if status is None or status.attempt < attempt:
                raise JobError(f"{self.where} refused {submission_id}: {_server_text(error)}") from error
            return status
        return self.status(job) or JobStatus(attempt, JobState.PENDING, job.fingerprint)

    def _latest(self, job: Job) -> JobDetails | None:
        with self._answering():
            try:
                jobs = self._client.list_jobs()
            except RuntimeError as error:
                raise UnreachableError(f"{self.where} does not list its jobs: {_server_text(error)}") from error
        return max((one for one in jobs if _attempt(job, one)), key=lambda one: _attempt(job, one), default=None)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn network failures, which are all subclasses of `OSError`, into `UnreachableError`."""
        try:
            yield
        except AuthenticationError as error:
            raise ConfigError(
                f"{self.where} uses token authentication and refused this process "
                f"({error.message.splitlines()[0].rstrip('.')}): set RAY_AUTH_MODE=token, and give the cluster's "
                "token in ~/.ray/auth_token, in RAY_AUTH_TOKEN, or in a file that RAY_AUTH_TOKEN_PATH names."
            ) from error
        except OSError as error:
            raise UnreachableError(
                f"{self.where} does not answer; check that the cluster is up and that the address is its dashboard's."
            ) from error


def _status(job: Job, details: JobDetails) -> JobStatus:
    code = details.driver_exit_code
    failed = JobState.LOST if code is None else JobState.FAILED
    state = _STATES.get(details.status, failed)
    message = "" if state in (JobState.SUCCEEDED, JobState.RUNNING) else (details.message or "").split(", last ")[0]
    fingerprint = (details.metadata or {}).get("fingerprint", "")
    return JobStatus(_attempt(job, details), state, fingerprint, code, message.rstrip("."))


def _submission_id(job: Job, attempt: int) -> str:
    return f"vip-{job.name}-{_place(job.folder)}-{attempt}"


def _place(folder: Path | str) -> str:
    """Return ten characters that identify a folder, whichever path leads to it."""
    return hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:10]


def _attempt(job: Job, details: JobDetails) -> int:
    """Return the number of this attempt at the job, or 0 if it is none."""
    metadata = details.metadata or {}
    if metadata.get("name") != job.name:
        return 0
    match = re.fullmatch(rf"vip-{re.escape(job.name)}-(?:([0-9a-f]{{10}})-)?(\d+)", details.submission_id or "")
    if match is None:
        return 0
    # Ids of earlier versions lack the place; the folder in the metadata has it.
    place = match[1] or _place(metadata.get("folder", ""))
    return int(match[2]) if place == _place(job.folder) else 0


def _server_text(error: RuntimeError) -> str:
    text = str(error)
    try:
        return str(json.loads(text[text.index("{") :].rstrip("."))["msg"])
    except (ValueError, KeyError, TypeError):
        return text.strip().splitlines()[-1][:500]
