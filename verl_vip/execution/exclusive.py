"""One process at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verl_vip.durable_files import open_lock
from verl_vip.errors import ConfigError


@contextmanager
def exclusive(lock: Path, work: str) -> Iterator[None]:
    """Hold a lock while the block runs; the kernel frees it when the process dies. Its folder is made.

    Args:
        lock: The file to lock.
        work: What the lock is about, for the message: "the sweep in /runs/s".

    Raises:
        ConfigError: If another process holds it.
        StateError: If something else than a regular file is in its place.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open_lock(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(work) from error
        yield


def hold(lock: Path, work: str) -> None:
    """Take a lock that this process keeps until it ends, however it ends. Its folder is made.

    The lock is the process's own: those that it forks do not keep it, and it may take it again.

    Args:
        lock: The file to lock.
        work: What the lock is about, as for `exclusive`.

    Raises:
        ConfigError: If another process holds it.
        StateError: If something else than a regular file is in its place.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    # To close any descriptor of the file would free the lock.
    file = open_lock(lock, for_good=True)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # POSIX allows either
        os.close(file.fileno())
        raise _busy(work) from error


def _busy(work: str) -> ConfigError:
    return ConfigError(f"another process is at {work}; wait for it or stop it.")
