"""Jobs as processes of this machine, which outlive the process that started them."""

import json
import os
import shutil
import signal
import subprocess
import time

from verl_vip.errors import ConfigError, JobError
from verl_vip.execution.files import (
    LOCK_FILE,
    LOG_FILE,
    Entry,
    is_locked,
    keeper_command,
    lock_holder,
    other_work,
    read_entry,
)
from verl_vip.execution.job import Job, JobState, JobStatus
from verl_vip.execution.processes import MARK, Process, end, family, mark_of
from verl_vip.regular_files import open_regular

_HANDSHAKE_S = 60.0
_REMAINS_S = 20.0
_FULL_BYTES = 1 << 20


class LocalExecutor:
    """Runs each job under its own keeper process (`verl_vip.execution.keeper`).

    The job's folder has the whole state: `job.json`, `job.log` and a lock. A second start of a job, from any process of
    the machine, therefore finds the live one.

    Args:
        grace_s: Seconds between asking a job's processes to end and killing them.
    """

    where = "this machine"

    def __init__(self, grace_s: float = 30.0) -> None:
        self._grace_s = grace_s

    def start(self, job: Job) -> JobStatus:
        """Start a new attempt, or return the live one; see `Executor`."""
        before = read_entry(job.folder)
        status = None
        while status is None:
            answer = self._ask_keeper(job)
            if answer.startswith("error: "):
                raise JobError(f"{job.name} cannot be started: {answer.removeprefix('error: ').rstrip('.')}.")
            status = self._newer_than(before, job)
        if status.fingerprint != job.fingerprint:
            raise ConfigError(
                f"{job.name} is already running with other settings; stop it, wait for it, or choose another name."
            )
        return status

    def status(self, job: Job) -> JobStatus | None:
        """Return the status of the latest attempt; see `Executor`."""
        entry = read_entry(job.folder)
        if entry is None:
            return None
        if entry.state.is_live and not _is_kept(job):
            entry = read_entry(job.folder) or entry  # it may have ended between the two checks
            if entry.state.is_live:
                entry = entry.change(state=JobState.LOST, message=_why_lost(job))
        message = entry.message or _ending(entry, job)
        return JobStatus(entry.attempt, entry.state, entry.fingerprint, entry.exit_code, message)

    def read_log(self, job: Job, position: int) -> tuple[list[str], int]:
        """Return new complete lines of the latest attempt; see `Executor`."""
        entry = read_entry(job.folder)
        if entry is None:
            return [], position
        try:
            with open_regular(job.folder / LOG_FILE) as log:
                log.seek(entry.log_start + position)
                text = log.read()
        except FileNotFoundError:
            return [], position
        if entry.state.is_live:  # the last line may be incomplete
            text = text[: text.rfind(b"\n") + 1]
        return text.decode(errors="replace").splitlines(), position + len(text)

    def stop(self, job: Job) -> None:
        """End the live attempt with all its processes, and processes left by a killed keeper; see `Executor`."""
        holder = lock_holder(job.folder)
        if holder is None:
            if remains := end(lambda: _remains(job), signal.SIGKILL, _REMAINS_S):
                raise JobError(
                    f"process {remains[0].pid} of {job.name} does not end, even when it is killed; find out what it "
                    "waits for and try again."
                )
            return
        if holder <= 0:
            raise JobError(f"{job.name} is run by another machine or container; stop it there.")
        asked = False
        deadline = time.monotonic() + self._grace_s + 30
        while lock_holder(job.folder) == holder:
            asked = asked or _ask_to_end(job, holder)
            if time.monotonic() > deadline:
                raise JobError(f"{job.name} does not end; kill its keeper (process {holder}), then stop the job again.")
            time.sleep(0.05)

    def _newer_than(self, before: Entry | None, job: Job) -> JobStatus | None:
        """Return the live attempt or one after `before`; None if the keeper ended without an attempt."""
        least = 1 if before is None else before.attempt + 1
        deadline = time.monotonic() + _HANDSHAKE_S
        while time.monotonic() < deadline:
            holder = lock_holder(job.folder)
            status = self.status(job)
            if status is not None and (status.state.is_live or status.attempt >= least):
                return status
            if holder is None:
                return None
            _require_keeper(job, holder)
            time.sleep(0.05)  # a keeper holds the lock but has not written its entry yet
        raise JobError(
            f"{job.folder} is locked, but no running job is recorded there; end the process that holds the lock and "
            "start again."
        )

    def _ask_keeper(self, job: Job) -> str:
        specification = {
            "command": list(job.command),
            "environment": dict(job.environment),
            "fingerprint": job.fingerprint,
            "grace_s": self._grace_s,
        }
        try:
            asked = subprocess.run(
                keeper_command(job.folder),
                input=json.dumps(specification),
                # If another job starts this one, its mark must not pass to the new keeper.
                env={name: value for name, value in os.environ.items() if name != MARK},
                capture_output=True,
                text=True,
                timeout=_HANDSHAKE_S,
                start_new_session=True,  # a Ctrl-C at the terminal must not reach the keeper
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise JobError(f"the keeper of {job.name} does not answer; see {job.folder / LOG_FILE}.") from error
        if not asked.stdout.strip():
            raise JobError(f"the keeper of {job.name} did not start: {asked.stderr.strip()[-500:]}")
        return asked.stdout.strip()


def _is_kept(job: Job) -> bool:
    """Return whether this job has a live keeper."""
    holder = lock_holder(job.folder)
    return holder is not None and not other_work(holder, job.folder)


def _require_keeper(job: Job, holder: int) -> bool:
    """Return whether the holder of the lock is known to be this job's keeper; False if it cannot be inspected.

    Raises:
        JobError: If the holder is another process.
    """
    work = other_work(holder, job.folder)
    if work:
        raise JobError(
            f"{job.folder / LOCK_FILE} is locked by process {holder}, which {work}. Nothing was done to that process."
        )
    return work is not None


def _ask_to_end(job: Job, holder: int) -> bool:
    """Ask the holder of the job's lock to end if it is the job's keeper, and return whether a signal was sent.

    Raises:
        JobError: If the holder is another process, or belongs to another user.
    """
    process = Process.of(holder)
    if process is None or not _require_keeper(job, holder) or lock_holder(job.folder) != holder:
        return False
    try:
        process.send(signal.SIGTERM)
    except PermissionError as error:
        raise JobError(f"{job.name} is run by another user, in process {holder}; ask that user to stop it.") from error
    return True


def _remains(job: Job) -> list[Process]:
    """Return the processes that earlier attempts left behind."""
    try:
        found = family(mark_of(job.folder))
    except FileNotFoundError:
        return []
    # The processes were looked up first. If the folder is locked by now, they may belong to a new attempt.
    return [] if is_locked(job.folder) else found


def _ending(entry: Entry, job: Job) -> str:
    if entry.exit_code is None or entry.state is JobState.SUCCEEDED:
        return ""
    code = entry.exit_code
    how = f"ended with status {code}" if code > 0 else f"ended by signal {-code} ({signal.strsignal(-code)})"
    return f"{how}, and the disk of {job.folder} is full" if _disk_is_full(job) else how


def _why_lost(job: Job) -> str:
    if _disk_is_full(job):
        return f"ended without a message, and the disk of {job.folder} is full"
    return "ended without a message: it was killed from outside, or the machine was restarted"


def _disk_is_full(job: Job) -> bool:
    return shutil.disk_usage(job.folder).free < _FULL_BYTES
