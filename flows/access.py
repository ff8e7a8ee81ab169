"""The password of this machine's Prefect server.

By default, Prefect's server obeys anybody who reaches its port: every user of the machine, and every web page that a
browser on it opens. `make server` therefore sets a password and keeps it in a file that only its owner can read.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from prefect.settings import PREFECT_API_AUTH_STRING, get_current_settings, temporary_settings

from verl_vip.errors import ConfigError
from verl_vip.flows.loopback import is_loopback

HOST = "127.0.0.1"
_PASSWORD = re.compile(r"[^:\s]+:\S+")  # `user:password`, as Prefect wants it


def server_settings(port: int, password: str) -> dict[str, str]:
    """Return Prefect's settings for a server that accepts requests from its own page and with the password only.

    Args:
        port: The port of the server.
        password: `user:password`.
    """
    return {
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    }


def password_file(port: int) -> Path:
    """Return the file with the password of the server on this port; it is in PREFECT_HOME, beside the database."""
    return get_current_settings().home / f"verl-vip-{port}.password"


def make_password(file: Path) -> str:
    """Write a new password into a file that only this user can read, and return it.

    Raises:
        FileExistsError: If the file exists.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = f"verl-vip:{secrets.token_urlsafe(32)}"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # O_EXCL does not follow links
    with os.fdopen(descriptor, "w") as output:
        output.write(f"{password}\n")
    return password


def read_password(file: Path) -> str:
    """Return the password in a file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ConfigError: If others could have read or written the file, or it contains no password.
    """
    remedy = f"remove it, and the next `make server` makes a new one: rm '{file}'"
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); {remedy}") from error
    with os.fdopen(descriptor) as source:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ConfigError(
                f"{file} must be a regular file that only you can read (mode {found.st_mode & 0o777:o}); {remedy}"
            )
        text = source.read(1000).strip()
    if not _PASSWORD.fullmatch(text):
        raise ConfigError(f"{file} does not contain a valid password; {remedy}")
    return text


@contextmanager
def with_password() -> Iterator[None]:
    """Let Prefect's client send the password of `make server` if it talks to that server.

    The password is never sent to another machine. A password in Prefect's own settings takes precedence.

    Raises:
        ConfigError: If others could have read or written the file with the password, or it contains none.
    """
    api = get_current_settings().api
    if not api.url or api.auth_string is not None or not is_loopback(api.url):
        yield
        return
    try:
        password = read_password(password_file(urlsplit(api.url).port or 80))
    except FileNotFoundError:  # a server that `make server` did not start
        yield
        return
    with temporary_settings({PREFECT_API_AUTH_STRING: password}):
        yield
