"""Locks that let only one process at a time work in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verl_vip.durable_files import open_lock
from verl_vip.errors import ConfigError


@contextmanager
def exclusive(lock: Path, work: str) -> Iterator[None]:
    """Hold a lock while the block runs. The kernel releases it if the process dies.

    Args:
        lock: The file to lock; its folder is created.
        work: The protected work, for the message: "the sweep in /runs/s".

    Raises:
        ConfigError: If another process holds the lock.
        StateError: If the path is anything but a regular file.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open_lock(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(work) from error
        yield


def hold(lock: Path, work: str) -> None:
    """Take a lock and hold it until this process ends, however it ends.

    The lock belongs to this process: forked processes do not hold it, and this process may take it again.

    Args:
        lock: The file to lock; its folder is created.
        work: The protected work, as for `exclusive`.

    Raises:
        ConfigError: If another process holds the lock.
        StateError: If the path is anything but a regular file.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Closing any descriptor of the file would release the lock.
    file = open_lock(lock, for_good=True)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # POSIX allows both
        os.close(file.fileno())
        raise _busy(work) from error


def _busy(work: str) -> ConfigError:
    return ConfigError(f"another process is working on {work}; wait for it or stop it.")
