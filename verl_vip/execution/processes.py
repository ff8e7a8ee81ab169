"""Processes of this machine: known by number and start, and recognised as a job's by a mark in their environment."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "VERL_VIP_JOB"
"""The variable that a keeper gives to its command, whose processes inherit it."""

_POLL_S = 0.02


@dataclass(frozen=True)
class Process:
    """A process; its number alone may belong to another one by now.

    Attributes:
        pid: Its number.
        start: When it started, in clock ticks since boot.
    """

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return the process that has this number now, if any."""
        found = _stat(pid)
        return None if found is None else cls(pid, found.start)

    def send(self, number: int) -> None:
        """Send a signal; one that is gone gets none.

        Raises:
            PermissionError: If it is another user's.
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
    """Return what marks the processes of the job in a folder.

    It follows from the folder alone, so that no file has to be trusted for it. A copy of the folder has another mark.

    Raises:
        OSError: If there is no such folder.
    """
    status = folder.stat()
    return f"{status.st_dev}:{status.st_ino}:{folder.resolve()}"


def family(mark: str) -> list[Process]:
    """Return the processes with this mark and all that descend from them, without this process.

    Descendants count even without the mark: a process may clear its environment or write over it.
    """
    table = _table()
    marked = [pid for pid in table if _has(pid, mark)]
    found = dict.fromkeys([*marked, *(pid for one in marked for pid in _below(one, table))])
    return [Process(pid, table[pid].start) for pid in found if pid != os.getpid() and not table[pid].is_zombie]


def command_line(pid: int) -> list[str]:
    """Return the words that a process was started with; none if it is gone or cannot be looked at."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in words.removesuffix(b"\0").split(b"\0")] if words else []


def descendants(pid: int) -> list[Process]:
    """Return all processes that descend from one, zombies among them."""
    table = _table()
    return [Process(one, table[one].start) for one in _below(pid, table)]


def end(find: Callable[[], list[Process]], number: int, patience_s: float) -> list[Process]:
    """Send a signal to all that are found, again and again, until there are none.

    Args:
        find: Looks for them.
        number: The signal.
        patience_s: Seconds after which it gives up.

    Returns:
        Those which remain.
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
    except OSError:  # it is gone, or another user's
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
    # The second field is a name in parentheses, which may hold spaces and parentheses itself.
    fields = text.rpartition(b")")[2].split()
    return _Stat(parent=int(fields[1]), start=int(fields[19]), is_zombie=fields[0] in (b"Z", b"X"))


def _below(ancestor: int, table: dict[int, _Stat]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, found in table.items():
        children.setdefault(found.parent, []).append(pid)
    reached: dict[int, None] = {}  # the table is not of one moment, so that a number may occur twice
    front = [ancestor]
    while front:
        front = [child for parent in front for child in children.get(parent, []) if child not in reached]
        reached.update(dict.fromkeys(front))
    return list(reached)
