"""Processes of this machine, identified by id and start time, and assigned to a job by a mark in their environment."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "VERL_VIP_JOB"
"""The environment variable with the mark. A keeper sets it for its command, whose processes inherit it."""

_POLL_S = 0.02


@dataclass(frozen=True)
class Process:
    """A process. Its id alone does not identify it, because ids are reused.

    Attributes:
        pid: The process id.
        start: The start time, in clock ticks since boot.
    """

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return the process that has this id now, or None."""
        found = _stat(pid)
        return None if found is None else cls(pid, found.start)

    def send(self, number: int) -> None:
        """Send a signal to the process unless it has ended.

        Raises:
            PermissionError: If the process belongs to another user.
        """
        if Process.of(self.pid) == self:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(frozen=True)
class _Stat:
    parent: int
    start: int
    is_zombie: bool


def mark_of(folder: Path) -> str:
    """Return the mark of the processes of a folder's job.

    The mark depends on the folder alone, so that no file has to be trusted. A copy of the folder has another mark.

    Raises:
        OSError: If the folder does not exist.
    """
    status = folder.stat()
    return f"{status.st_dev}:{status.st_ino}:{folder.resolve()}"


def family(mark: str) -> list[Process]:
    """Return the processes with this mark and all their descendants, without this process.

    Descendants are included even without the mark, because a process may clear or overwrite its environment.
    """
    table = _table()
    marked = [pid for pid in table if _has(pid, mark)]
    found = dict.fromkeys([*marked, *(pid for one in marked for pid in _below(one, table))])
    return [Process(pid, table[pid].start) for pid in found if pid != os.getpid() and not table[pid].is_zombie]


def command_line(pid: int) -> list[str]:
    """Return the command line of a process as words; an empty list if it has ended or cannot be inspected."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in words.removesuffix(b"\0").split(b"\0")] if words else []


def descendants(pid: int) -> list[Process]:
    """Return all descendants of a process, including zombies."""
    table = _table()
    return [Process(one, table[one].start) for one in _below(pid, table)]


def end(find: Callable[[], list[Process]], number: int, patience_s: float) -> list[Process]:
    """Send a signal to processes repeatedly until none is left.

    Args:
        find: Returns the remaining processes.
        number: The signal.
        patience_s: Seconds after which to give up.

    Returns:
        The processes that remain.
    """
    deadline = time.monotonic() + patience_s
    while found := find():
        if time.monotonic() > deadline:
            return found
        for process in found:
            with suppress(PermissionError):
                process.send(number)
        time.sleep(_POLL_S)
    return []


def _has(pid: int, mark: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or belongs to another user
        return False
    return f"{MARK}={mark}".encode(errors="surrogateescape") in environment.split(b"\0")


def _table() -> dict[int, _Stat]:
    numbers = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    return {pid: found for pid in numbers if (found := _stat(pid)) is not None}


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is a name in parentheses, which may itself contain spaces and parentheses.
    fields = text.rpartition(b")")[2].split()
    return _Stat(parent=int(fields[1]), start=int(fields[19]), is_zombie=fields[0] in (b"Z", b"X"))


def _below(ancestor: int, table: dict[int, _Stat]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, found in table.items():
        children.setdefault(found.parent, []).append(pid)
    reached: dict[int, None] = {}  # the table is not a snapshot, so that an id may occur twice
    front = [ancestor]
    while front:
        front = [child for parent in front for child in children.get(parent, []) if child not in reached]
        reached.update(dict.fromkeys(front))
    return list(reached)
