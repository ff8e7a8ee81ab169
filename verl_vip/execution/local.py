"""Jobs as processes of this machine, which outlive whoever started them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

from verl_vip.errors import ConfigError, JobError
from verl_vip.execution.files import LOG_FILE, Entry, is_locked, read_entry, start_time
from verl_vip.execution.job import Job, JobState, JobStatus

_HANDSHAKE_S = 60.0
_ENTRY_S = 5.0
_FULL_BYTES = 1 << 20


class LocalExecutor:
    """Runs each job under a keeper process of its own (`verl_vip.execution.keeper`).

    The job's folder holds all there is to know: `job.json`, `job.log` and a lock. Who starts a job again, from
    whatever process of the machine, finds the live one.

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
                raise JobError(f"{job.name} cannot be started: {answer.removeprefix('error: ')}.")
            status = self._newer_than(before, job)
        if status.fingerprint != job.fingerprint:
            raise ConfigError(
                f"{job.name} is running already with other settings; stop it, wait for it, or choose another name."
            )
        return status

    def status(self, job: Job) -> JobStatus | None:
        """Return how the latest attempt stands; see `Executor`."""
        entry = read_entry(job.folder)
        if entry is None:
            return None
        if entry.state.is_live and not is_locked(job.folder):
            entry = read_entry(job.folder) or entry  # it may have ended between the two looks
            if entry.state.is_live:
                entry = entry.change(state=JobState.LOST, message=_why_lost(job))
        message = entry.message or _ending(entry, job)
        return JobStatus(entry.attempt, entry.state, entry.fingerprint, entry.exit_code, message)

    def read_log(self, job: Job, position: int) -> tuple[list[str], int]:
        """Return new whole lines of the latest attempt; see `Executor`."""
        entry = read_entry(job.folder)
        if entry is None:
            return [], position
        try:
            with (job.folder / LOG_FILE).open("rb") as log:
                log.seek(entry.log_start + position)
                text = log.read()
        except FileNotFoundError:
            return [], position
        if entry.state.is_live:  # the last line may still be growing
            text = text[: text.rfind(b"\n") + 1]
        return text.decode(errors="replace").splitlines(), position + len(text)

    def stop(self, job: Job) -> None:
        """End the live attempt with all its processes; see `Executor`."""
        entry = self._live_entry(job)
        if entry is None:
            return
        if not entry.is_of_this_boot or start_time(entry.pid) != entry.pid_start:
            raise JobError(f"{job.name} is run by another machine or container ({entry.host}); stop it there.")
        os.kill(entry.pid, signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s + 30
        while is_locked(job.folder):
            if time.monotonic() > deadline:
                raise JobError(f"{job.name} does not end; its keeper is process {entry.pid}.")
            time.sleep(0.05)

    def _live_entry(self, job: Job) -> Entry | None:
        """Return what the keeper that holds the folder has written, None if there is no keeper.

        A keeper that has just taken the lock writes its entry within moments; until then the last one's is there.
        """
        deadline = time.monotonic() + _ENTRY_S
        while is_locked(job.folder):
            entry = read_entry(job.folder)
            if entry is not None and entry.state.is_live and start_time(entry.pid) == entry.pid_start:
                return entry
            if time.monotonic() > deadline:
                if entry is None:
                    raise JobError(f"{job.folder} is locked, but no job says so; look for a stuck keeper process.")
                return entry
            time.sleep(0.02)
        return None

    def _newer_than(self, before: Entry | None, job: Job) -> JobStatus | None:
        """Return the live attempt, or one that began after `before`; None if a keeper ended without an attempt."""
        least = 1 if before is None else before.attempt + 1
        deadline = time.monotonic() + _HANDSHAKE_S
        while time.monotonic() < deadline:
            held = is_locked(job.folder)
            status = self.status(job)
            if status is not None and (status.state.is_live or status.attempt >= least):
                return status
            if not held:
                return None
            time.sleep(0.05)  # a keeper has the lock and has not written its entry yet
        raise JobError(f"{job.folder} is locked, but no job says so; look for a stuck keeper process.")

    def _ask_keeper(self, job: Job) -> str:
        specification = {
            "folder": str(job.folder),
            "command": list(job.command),
            "environment": dict(job.environment),
            "fingerprint": job.fingerprint,
            "grace_s": self._grace_s,
        }
        try:
            asked = subprocess.run(
                [sys.executable, "-m", "verl_vip.execution.keeper"],
                input=json.dumps(specification),
                capture_output=True,
                text=True,
                timeout=_HANDSHAKE_S,
                start_new_session=True,  # a Ctrl-C at the terminal is for whoever started the job
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise JobError(f"the keeper of {job.name} gives no answer; see {job.folder / LOG_FILE}.") from error
        if not asked.stdout.strip():
            raise JobError(f"the keeper of {job.name} did not start: {asked.stderr.strip()[-500:]}")
        return asked.stdout.strip()


def _ending(entry: Entry, job: Job) -> str:
    if entry.exit_code is None or entry.state is JobState.SUCCEEDED:
        return ""
    code = entry.exit_code
    how = f"ended with status {code}" if code > 0 else f"ended by signal {-code} ({signal.strsignal(-code)})"
    return f"{how}, and the disk of {job.folder} is full" if _disk_is_full(job) else how


def _why_lost(job: Job) -> str:
    if _disk_is_full(job):
        return f"gone without a word, and the disk of {job.folder} is full"
    return "gone without a word: killed from outside, or the machine was restarted"


def _disk_is_full(job: Job) -> bool:
    return shutil.disk_usage(job.folder).free < _FULL_BYTES
