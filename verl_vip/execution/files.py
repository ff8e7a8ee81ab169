"""The files of a local job: what the keeper writes and everybody reads."""

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

#: How Python is told to keep the job of the folder that follows. -P: nothing is imported from the folder one stands in.
_KEEPER_WORDS = ("-P", "-m", "verl_vip.execution.keeper")

#: `struct flock` of Linux on 64-bit machines: type, whence, start, length, process.
_FLOCK = struct.Struct("@hhqqi0q")


@dataclass(frozen=True)
class Entry:
    """The latest attempt at a job, for people and for those who follow it.

    Nobody is sent a signal because of what stands here: a copied or damaged file must not end a stranger's process.

    Attributes:
        attempt: Counted from 1.
        state: As the keeper last wrote it; a keeper that was killed leaves `RUNNING` behind.
        fingerprint: Of the job's settings.
        host: The machine of the keeper.
        pid: The keeper's process.
        log_start: Bytes that the log had before the attempt.
        started_at: Unix time, in seconds.
        ended_at: Unix time, in seconds.
        exit_code: Of the command; negative for a signal.
        message: Why it could not be started, or empty.
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
        StateError: If the file is not one that a keeper wrote.
    """
    file = folder / ENTRY_FILE
    if not os.path.lexists(file):
        return None
    try:
        values = json.loads(read_regular(file))
        known = {entry.name for entry in fields(Entry)}  # other releases have other fields as well
        entry = Entry(**{name: values[name] for name in values if name in known})
        _require_ranges(entry)
        return entry.change(state=JobState(entry.state))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"{file} is damaged ({error}); make sure that nothing runs there and remove it.") from error


def _require_ranges(entry: Entry) -> None:
    """Raise a ValueError unless the numbers are what a keeper can have written."""
    ranges = {"attempt": (1, 2**31), "log_start": (0, 2**62), "exit_code": (-64, 255)}
    for name, (least, most) in ranges.items():
        value = getattr(entry, name)
        if name == "exit_code" and value is None:
            continue
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} is to be a whole number from {least} to {most}")
    for name in ("fingerprint", "host", "message"):
        if not isinstance(getattr(entry, name), str):
            raise ValueError(f"{name} is to be text")


def write_entry(folder: Path, entry: Entry) -> None:
    """Replace the file in one go.

    Raises:
        OSError: If it cannot be written.
    """
    replace_json(folder / ENTRY_FILE, asdict(entry))


def lock_holder(folder: Path) -> int | None:
    """Return the process that holds the folder's lock, as the kernel knows it; None if nobody does.

    The lock is never taken for that, so that nobody is disturbed. A process of another machine or container has no
    number here, and is 0 or less.

    Raises:
        StateError: If something else is in the place of the lock file.
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
    """Return whether anybody holds the folder's lock; see `lock_holder`."""
    return lock_holder(folder) is not None


def keeper_command(folder: Path) -> list[str]:
    """Return the command that keeps the job of a folder; others know a keeper and its folder by it."""
    return [sys.executable, *_KEEPER_WORDS, str(folder)]


def other_work(holder: int, folder: Path) -> str | None:
    """Return what the holder of a folder's lock does instead of keeping the folder's job.

    Two folders have one lock if one is a copy of the other by hard links.

    Returns:
        In words; empty if it keeps the job, and None if it cannot be looked at: it is about to end, or elsewhere.
    """
    words = command_line(holder) if holder > 0 else []
    if not words:
        return None
    if tuple(words[1:-1]) != _KEEPER_WORDS:
        return "keeps no job"
    kept = Path(words[-1])
    with suppress(OSError):
        if kept.samefile(folder):
            return ""
    return f"keeps the job of {kept}, of which {folder} is a copy by hard links (make one without them)"
