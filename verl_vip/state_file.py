"""Files that hold a state completely or not at all, and what is done about one that cannot be used.

A file is one header line with the format, its version and the SHA-256 of the rest, then a `torch.save` archive.
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
#: What tensors may take beyond the size of their file: a few small ones may be views that repeat one number.
_SLACK_BYTES = 16 * 2**20
#: Containers within containers; states have about six.
_DEEPEST = 32
#: What restoring from values of a wrong type, shape or size raises, in Python and in torch.
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
    """Raise whatever a damaged state makes fail inside the `with` block as a `StateError`.

    Assign nothing to what is restored before all of it has been read.

    Args:
        what: Whose state it is, for the message.

    Raises:
        StateError: If something failed; one that was raised inside is left as it is.
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
        path: The file to write, by one process at a time; its folder is created.
        state: Tensors, numbers, strings, None, and lists, tuples and dicts of them.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    payload = buffer.getvalue()
    for abandoned in path.parent.glob(f".{path.name}.*.partial"):  # by a process that was killed here
        abandoned.unlink(missing_ok=True)
    replace_file(path, _MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def read_state(path: Path) -> dict[str, Any]:
    """Read what `write_state` wrote; no more memory is taken than a small multiple of the file's size.

    Raises:
        StateError: If the file is missing, of another format or version, damaged, or would expand beyond its size.
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
    # torch writes its archives without compression, and reads compressed ones: a few megabytes then become gigabytes.
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        members = archive.infolist()
        expands = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        # A comment could hide a second directory, which torch would read in place of this one.
        if expands or archive.comment or sum(member.file_size for member in members) > len(payload):
            raise ValueError("its archive is not one that torch.save writes: it would expand beyond its size")


def _require_bounded(state: Any, size: int) -> None:
    """Refuse what is larger in use than in its file, before anything copies or walks it.

    A tensor may repeat one stored number without end, and a container may hold another many times over.
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
        # Everything that stands for itself in the file takes at least a byte there.
        if items > size or tensor_bytes > size + _SLACK_BYTES or depth > _DEEPEST:
            raise ValueError("it would expand beyond its size")
