"""One process at a time in a folder."""

import fcntl
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
            raise ConfigError(f"another process is at {work}; wait for it or stop it.") from error
        yield
