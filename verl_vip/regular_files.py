"""Reading of files that may be damaged, or replaced by something that is not a regular file."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from verl_vip.errors import StateError


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a named pipe or a device, which could block a reader, is refused.

    Raises:
        StateError: If the path is not a regular file.
        OSError: If the file does not exist or cannot be opened.
    """
    # Without O_NONBLOCK, opening a pipe without a writer would wait forever.
    file = open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise StateError(f"{path} is not a regular file; remove it.")
    return file


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file; a named pipe or a device, which could block a reader, is refused.

    Raises:
        StateError: If the file does not exist, is not a regular file, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise StateError(f"{path} is a link to {os.readlink(path)}, which does not exist.") from error
        raise StateError(f"{path} does not exist.") from error
    except IsADirectoryError as error:
        raise StateError(f"{path} is a folder and should be a file; remove it.") from error
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}.") from error
