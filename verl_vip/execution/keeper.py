"""The keeper: a process that runs one attempt at a local job, outlives its caller, and records how the job ended.

    python -P -m verl_vip.execution.keeper FOLDER < SPECIFICATION

The keeper locks the job's folder as long as it lives, so that only one of two simultaneous keepers continues. If the
keeper is killed, the kernel kills the job's process too, and the released lock shows that the keeper is gone. Other
processes of the job have a mark in their environment, and the next attempt ends them before it begins.
The keeper answers its caller with one line ("started", "busy" or "error: ...") and detaches.
"""

import ctypes
import fcntl
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from verl_vip.durable_files import open_lock
from verl_vip.errors import JobError, VerlVipError
from verl_vip.execution.files import LOCK_FILE, LOG_FILE, Entry, read_entry, write_entry
from verl_vip.execution.job import JobState, environment_of
from verl_vip.execution.processes import MARK, Process, descendants, end, family, mark_of
from verl_vip.execution.ray_variables import PRIVATE_RAY

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.1
_REMAINS_S = 20.0


class Keeper:
    """Runs one attempt at a job.

    Args:
        folder: The folder of the job.
        specification: `command`, `environment`, `fingerprint`, and `grace_s`, the seconds between asking the processes
            to end and killing them.
    """

    def __init__(self, folder: Path, specification: dict[str, Any]) -> None:
        self._folder = folder
        self._command: list[str] = specification["command"]
        self._environment: dict[str, str] = specification["environment"]
        self._fingerprint: str = specification["fingerprint"]
        self._grace_s: float = specification["grace_s"]
        self._asked_to_stop = False

    def heed_signals(self) -> None:
        """Treat SIGTERM and SIGINT as a request to stop.

        This comes before the lock is taken, because other processes signal the holder of the lock.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def run(self, entry: Entry) -> None:
        """Start the command, answer, and wait until its processes have ended. After a stop request, start nothing."""
        if self._asked_to_stop:
            _answer("started")
            ended = entry.change(state=JobState.STOPPED)
        else:
            ended = self._attempt(entry)
        write_entry(self._folder, ended.change(ended_at=time.time()))

    def _attempt(self, entry: Entry) -> Entry:
        process = self._start(entry.attempt)
        _answer("started")
        code = self._wait(process)
        state = JobState.SUCCEEDED if code == 0 else JobState.FAILED
        if self._asked_to_stop and code != 0:
            state = JobState.STOPPED
        return entry.change(state=state, exit_code=code)

    def _start(self, attempt: int) -> "subprocess.Popen[bytes]":
        libc = ctypes.CDLL("libc.so.6")
        # Orphaned processes of the job become children of the keeper, so that it can end them.
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        environment = environment_of(self._environment, attempt)
        keeper = os.getpid()

        def die_with_keeper() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(1)

        if (self._folder / LOG_FILE).is_fifo():
            raise OSError(f"{self._folder / LOG_FILE} is a pipe; remove it.")
        with (self._folder / LOG_FILE).open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**PRIVATE_RAY, **os.environ, **environment, MARK: mark_of(self._folder)},
                preexec_fn=die_with_keeper,  # noqa: PLW1509 (the keeper has one thread)
            )

    def _on_signal(self, *_: object) -> None:
        self._asked_to_stop = True

    def _wait(self, process: "subprocess.Popen[bytes]") -> int:
        """Reap children until the command has ended, then end its remaining processes; return its exit code."""
        deadline = None
        while process.returncode is None:
            if self._asked_to_stop and deadline is None:
                deadline = time.monotonic() + self._grace_s
                _signal_group(process.pid, signal.SIGTERM)
            if deadline is not None and time.monotonic() > deadline:
                _signal_group(process.pid, signal.SIGKILL)
            time.sleep(_POLL_S)
            for pid, status in _reaped():
                if pid == process.pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
        end(_remaining_children, signal.SIGKILL, math.inf)
        return process.returncode


def main() -> None:
    """Read the specification, detach, take the lock, and run the job."""
    specification = json.load(sys.stdin)
    if os.fork():
        os._exit(0)  # the caller waits for this process; its child gives the answer
    os.setsid()
    folder = Path(sys.argv[1])
    keeper = Keeper(folder, specification)
    keeper.heed_signals()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder / LOCK_FILE)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _answer("busy")
            return
        _end_remains(folder)
        entry = _new_entry(folder, specification["fingerprint"])
        write_entry(folder, entry)
    except (OSError, VerlVipError) as error:
        _answer(f"error: {error}")
        return
    try:
        keeper.run(entry)
    except OSError as error:
        # The command cannot be started, or its state cannot be written. Others read the entry; the caller gets the
        # answer.
        with suppress(OSError):
            write_entry(folder, entry.change(state=JobState.FAILED, message=str(error), ended_at=time.time()))
        _answer(f"error: {error}")


def _new_entry(folder: Path, fingerprint: str) -> Entry:
    """Return the entry for the next attempt."""
    previous = read_entry(folder)
    log = folder / LOG_FILE
    return Entry(
        attempt=1 if previous is None else previous.attempt + 1,
        state=JobState.RUNNING,
        fingerprint=fingerprint,
        host=socket.gethostname(),
        pid=os.getpid(),
        log_start=log.stat().st_size if log.exists() else 0,
        started_at=time.time(),
    )


def _end_remains(folder: Path) -> None:
    """End the processes left by a killed keeper. The caller holds the lock, so that no attempt is live.

    Raises:
        JobError: If a process does not end.
    """
    mark = mark_of(folder)
    if remains := end(lambda: family(mark), signal.SIGKILL, _REMAINS_S):
        raise JobError(
            f"process {remains[0].pid} of an earlier attempt does not end, even when it is killed; find out what it "
            "waits for and try again"
        )


def _answer(line: str) -> None:
    """Write the answer to the caller's pipe, then detach from the pipe; to be called once."""
    print(line, flush=True)  # noqa: T201 (a protocol of one line)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _reaped() -> list[tuple[int, int]]:
    """Reap all children that have ended, and return their process ids and statuses."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append((pid, status))


def _remaining_children() -> list[Process]:
    list(_reaped())
    return descendants(os.getpid())


if __name__ == "__main__":
    main()
