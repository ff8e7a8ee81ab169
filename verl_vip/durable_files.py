"""Files that survive a kill at any moment: files that are replaced atomically, and files of appended lines."""

import errno
import fcntl
import json
import math
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, BinaryIO

from verl_vip.errors import StateError


def replace_file(path: Path, payload: bytes) -> None:
    """Write a file atomically, and wait until it is on disk; its folder is created.

    A temporary file is written in the same folder and renamed, so that a reader sees the old file or the new one. A
    replaced file keeps its permissions.

    Raises:
        OSError: If the file cannot be written. An old file is then unchanged.
    """
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    partial.unlink(missing_ok=True)
    try:
        with partial.open("xb") as file:  # its name is predictable, so a link planted there must not be followed
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; see `replace_file`.

    JSON has no NaN and no infinity, and most readers refuse them. null stands for a number that does not exist, such
    as a limit of an unbounded interval.
    """
    replace_file(path, (json.dumps(_strict(value), indent=1, allow_nan=False) + "\n").encode())


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _strict(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(one) for one in value]
    return value


def open_lock(path: Path, create: bool = True, for_good: bool = False) -> BinaryIO:
    """Open a lock file without changing its content; a symbolic link is not followed.

    Args:
        path: The lock file.
        create: Whether to create the file if it is missing and open it for writing; otherwise it is opened for reading.
        for_good: Whether the descriptor stays open until the process ends, even if the file object is deleted.

    Raises:
        StateError: If the path is anything but a regular file.
        FileNotFoundError: If the file does not exist and `create` is false.
        OSError: If the file cannot be opened.
    """
    # Without O_NONBLOCK, opening a pipe would wait for its other end.
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDWR | os.O_CREAT if create else os.O_RDONLY)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_lock(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path)
    return os.fdopen(descriptor, "r+b" if create else "rb", buffering=0, closefd=not for_good)


def _no_lock(path: Path) -> StateError:
    return StateError(
        f"{path} must be a lock file, but something else is in its place; check what it is and remove it."
    )


def append_line(path: Path, line: bytes) -> int:
    """Append a line to a file, after cutting off an incomplete last line that a killed process left.

    Processes that append at the same time wait for each other, because a line that looks incomplete may be one that
    is still being written.

    Args:
        path: The file; it is created if it is missing.
        line: The line, with its line end.

    Returns:
        The number of bytes cut off.

    Raises:
        OSError: If the file cannot be written.
    """
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cut = cut_torn_line(file)
        file.write(line)
    return cut


def cut_torn_line(file: BinaryIO) -> int:
    """Truncate a file after its last line end. If the last line is complete, only one byte is read.

    Args:
        file: The file, open for reading and appending.

    Returns:
        The number of bytes cut off.
    """
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return 0
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return 0
    file.seek(0)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)
    return end - whole


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def folder_obstacle(folder: Path) -> str:
    """Return why a folder cannot be written to, or be created if it is missing; empty if it can."""
    for place in (folder, *folder.parents):
        try:
            is_folder = stat.S_ISDIR(os.stat(place).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return error.strerror or str(error)
        if not is_folder or not os.access(place, os.W_OK | os.X_OK):
            return f"{shortened(str(place))} {'cannot be written to' if is_folder else 'is not a folder'}"
        break
    return ""


def sync_folder(folder: Path) -> None:
    """Make new and renamed entries of a folder survive a power failure, which fsync of a file does not ensure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
