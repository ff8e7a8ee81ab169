"""The files of a local job, which its keeper writes and other processes read."""

import fcntl
import json
import os
import struct
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from verl_vip.durable_files import open_lock, replace_json
from verl_vip.errors import StateError
from verl_vip.execution.job import JobState
from verl_vip.execution.processes import command_line
from verl_vip.regular_files import read_regular

ENTRY_FILE = "job.json"
LOCK_FILE = ".job.lock"
LOG_FILE = "job.log"

#: Arguments of Python that start a keeper; the job's folder follows. -P: nothing is imported from the working folder.
_KEEPER_WORDS = ("-P", "-m", "verl_vip.execution.keeper")

#: `struct flock` of 64-bit Linux: type, whence, start, length, process.
_FLOCK = struct.Struct("@hhqqi0q")


@dataclass(frozen=True)
class Entry:
    """The latest attempt at a job, for users and for processes that follow the job.

    No process is sent a signal on the strength of this file, because a copied or damaged file could then end an
    unrelated process.

    Attributes:
        attempt: The number of the attempt, counted from 1.
        state: The state last written by the keeper; it stays `RUNNING` if the keeper is killed.
        fingerprint: The fingerprint of the job's settings.
        host: The machine of the keeper.
        pid: The process id of the keeper.
        log_start: Size of the log before the attempt, in bytes.
        started_at: Unix time, in seconds.
        ended_at: Unix time, in seconds; None before the end.
        exit_code: The exit code of the command, negative for a signal; None before the end.
        message: The reason why the command could not be started, or empty.
    """

    attempt: int
    state: JobState
    fingerprint: str
    host: str
    pid: int
    log_start: int
    started_at: float
    ended_at: float | None = None
    exit_code: int | None = None
    message: str = ""

    def change(self, **values: Any) -> "Entry":
        """Return a copy with other values."""
        return replace(self, **values)


def read_entry(folder: Path) -> Entry | None:
    """Return the latest attempt, or None before the first.

    Raises:
        StateError: If the file was not written by a keeper.
    """
    file = folder / ENTRY_FILE
    if not os.path.lexists(file):
        return None
    try:
        values = json.loads(read_regular(file))
        known = {entry.name for entry in fields(Entry)}  # other releases may have more fields
        entry = Entry(**{name: values[name] for name in values if name in known})
        _require_ranges(entry)
        return entry.change(state=JobState(entry.state))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"{file} is damaged ({error}); make sure that nothing runs there and remove it.") from error


def _require_ranges(entry: Entry) -> None:
    """Raise a ValueError if a keeper cannot have written these values."""
    ranges = {"attempt": (1, 2**31), "log_start": (0, 2**62), "exit_code": (-64, 255)}
    for name, (least, most) in ranges.items():
        value = getattr(entry, name)
        if name == "exit_code" and value is None:
            continue
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} must be a whole number from {least} to {most}")
    for name in ("fingerprint", "host", "message"):
        if not isinstance(getattr(entry, name), str):
            raise ValueError(f"{name} must be text")


def write_entry(folder: Path, entry: Entry) -> None:
    """Replace the entry file atomically.

    Raises:
        OSError: If the file cannot be written.
    """
    replace_json(folder / ENTRY_FILE, asdict(entry))


def lock_holder(folder: Path) -> int | None:
    """Return the id of the process that holds the folder's lock, as the kernel reports it; None if it is free.

    The lock is only queried and never taken, so that no other process is disturbed. For a holder on another machine or
    in another container the id is 0 or less.

    Raises:
        StateError: If the lock file is not a regular file.
    """
    try:
        with open_lock(folder / LOCK_FILE, create=False) as file:
            question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(file, fcntl.F_GETLK, question)
    except FileNotFoundError:
        return None
    kind, _, _, _, holder = _FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else int(holder)


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the folder's lock; see `lock_holder`."""
    return lock_holder(folder) is not None


def keeper_command(folder: Path) -> list[str]:
    """Return the command of the keeper for a folder; other processes recognise a keeper and its folder by it."""
    return [sys.executable, *_KEEPER_WORDS, str(folder)]


def other_work(holder: int, folder: Path) -> str | None:
    """Describe the work of a process that holds a folder's lock, unless it is the keeper of the folder's job.

    Two folders share a lock if one is a copy of the other with hard links.

    Returns:
        The description for a message. It is empty for the keeper of this job, and None for a process that cannot be
        inspected because it is about to end or runs elsewhere.
    """
    words = command_line(holder) if holder > 0 else []
    if not words:
        return None
    if tuple(words[1:-1]) != _KEEPER_WORDS:
        return "does not run a job of verl-vip"
    kept = Path(words[-1])
    with suppress(OSError):
        if kept.samefile(folder):
            return ""
    return f"runs the job of {kept}; {folder} is a copy of that folder with hard links, so make a copy without them"
