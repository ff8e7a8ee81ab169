"""State files, which are written atomically and checked when they are read.

A file has one header line with the format, its version and the SHA-256 of the rest, followed by a `torch.save` archive.
"""

import hashlib
import io
import pickle
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from verl_vip.durable_files import replace_file
from verl_vip.errors import IntegrationError, InvalidInputError, StateError

_MAGIC = b"verl-vip state 1 "
#: Bytes that tensors may take beyond the size of their file, because small ones may be views that repeat a number.
_SLACK_BYTES = 16 * 2**20
#: Most levels of nested containers; states have about six.
_DEEPEST = 32
#: Exceptions that Python and torch raise when restoring from values of a wrong type, shape or size.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    InvalidInputError,
    IntegrationError,
)


@contextmanager
def restoring(what: str) -> Iterator[None]:
    """Turn the exceptions that a damaged state causes inside the `with` block into a `StateError`.

    Inside the block, read the whole state before changing the object that is restored.

    Args:
        what: The owner of the state, for the message.

    Raises:
        StateError: If restoring failed. A `StateError` from inside the block is passed on unchanged.
    """
    try:
        yield
    except StateError:
        raise
    except _DAMAGE as error:
        raise StateError(
            f"the state of {what} is damaged ({type(error).__name__}: {error}); take an earlier checkpoint or start "
            "afresh."
        ) from error


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state atomically and durably.

    Args:
        path: The file to write; its folder is created. Only one process may write it at a time.
        state: Tensors, numbers, strings, None, and lists, tuples and dicts of these.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    payload = buffer.getvalue()
    for abandoned in path.parent.glob(f".{path.name}.*.partial"):  # left by a process that was killed here
        abandoned.unlink(missing_ok=True)
    replace_file(path, _MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def read_state(path: Path) -> dict[str, Any]:
    """Read a file of `write_state`, using at most a small multiple of its size in memory.

    Raises:
        StateError: If the file is missing, has another format or version, is damaged, or would expand beyond its size.
    """
    import torch

    header, separator, payload = _read(path).partition(b"\n")
    if not separator or not header.startswith(b"verl-vip state "):
        raise StateError(f"{path} is not a state file of verl-vip.")
    if not header.startswith(_MAGIC):
        raise StateError(
            f"{path} was written by another version of verl-vip ({header[:24].decode(errors='replace')!r})."
        )
    if hashlib.sha256(payload).hexdigest().encode() != header[len(_MAGIC) :]:
        raise StateError(f"{path} is damaged: its checksum does not match its content.")
    with restoring(f"the file {path}"):
        _require_uncompressed(payload)
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        _require_bounded(state, len(payload))
    if not isinstance(state, dict):
        raise StateError(f"{path} holds a {type(state).__name__} where a dict was expected.")
    return state


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StateError(f"{path} cannot be read: it is not a file.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise StateError(f"{path} does not exist.") from error
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}.") from error


def _require_uncompressed(payload: bytes) -> None:
    # torch writes uncompressed archives but also reads compressed ones, in which a few megabytes can become gigabytes.
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        members = archive.infolist()
        expands = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        # A comment could hide a second directory, which torch would read instead of this one.
        if expands or archive.comment or sum(member.file_size for member in members) > len(payload):
            raise ValueError("its archive is not one that torch.save writes: it would expand beyond its size")


def _require_bounded(state: Any, size: int) -> None:
    """Refuse a state that is larger in memory than in its file, before anything copies or traverses it.

    A tensor may repeat one stored number many times, and a container may hold the same container many times.
    """
    import torch

    items, tensor_bytes = 0, 0
    counted: set[int] = set()
    pending: list[tuple[Any, int]] = [(state, 0)]
    while pending:
        value, depth = pending.pop()
        items += 1
        if isinstance(value, torch.Tensor):
            if type(value) is not torch.Tensor or value.layout is not torch.strided or value.is_quantized:
                raise TypeError(f"it holds a tensor of a kind that no state has, {type(value).__name__}")
            if id(value) not in counted:
                counted.add(id(value))
                tensor_bytes += value.numel() * value.element_size()
        elif isinstance(value, dict):
            pending += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, (list, tuple)):
            pending += [(item, depth + 1) for item in value]
        elif not (value is None or isinstance(value, (str, int, float))):
            raise TypeError(f"it holds a {type(value).__name__}, which no state does")
        # Every item that is stored separately takes at least one byte of the file.
        if items > size or tensor_bytes > size + _SLACK_BYTES or depth > _DEEPEST:
            raise ValueError("it would expand beyond its size")
