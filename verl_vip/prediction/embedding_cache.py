"""Embeddings on disk: written once, read through a memory map, and consistent after a kill at any moment.

A cache is a folder with two files that only grow. `rows.f32` has one float32 row for each entry. `entries.bin` has a
header with the length of a row, and then 24 bytes for each entry: its key, and a checksum of key and row. A row is
written before its entry, so every entry has its row. Bytes after the last whole entry come from an interrupted write;
the next write cuts them off. If several entries have one key, the last is valid.

Earlier releases wrote `vectors.f32` and `keys.bin`, without checksums. These files are neither read nor changed.
"""

import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verl_vip.durable_files import open_lock
from verl_vip.errors import InvalidInputError, StateError

_KEY_BYTES, _SUM_BYTES = 16, 8
_ENTRY_BYTES = _KEY_BYTES + _SUM_BYTES
_HEADER = struct.Struct("<8sQ")
_MAGIC = b"vipemb 2"


def content_key(*content: str) -> bytes:
    """Return the 16-byte key of these texts."""
    joined = "\0".join(content).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=_KEY_BYTES).digest()


class EmbeddingCache:
    """A growing map from 16-byte keys to unit vectors.

    Several processes may use one folder. A lock file lets one write at a time, and a writer first reads what others
    have added.

    Args:
        folder: The folder of the two files; created by the first write.

    Raises:
        StateError: If the files do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows_path, self._entries_path = folder / "rows.f32", folder / "entries.bin"
        self._dimension: int | None = None
        #: The row of each key, and the checksum of key and row.
        self._rows: dict[bytes, tuple[int, bytes]] = {}
        self._entries = 0
        self._map: np.ndarray | None = None
        self.refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def is_intact(self, key: bytes) -> bool:
        """Return whether a key is present and its vector is unchanged since it was stored."""
        if key not in self._rows or self._map is None:
            return False
        row, checksum = self._rows[key]
        return _checksum(key, self._map[row].tobytes()) == checksum

    def refresh(self) -> None:
        """Read the entries that other processes have added.

        Raises:
            StateError: If the files do not fit together.
        """
        if not self._entries_path.exists():
            return
        with self._entries_path.open("rb") as file:
            header = file.read(_HEADER.size)
            file.seek(_HEADER.size + self._entries * _ENTRY_BYTES)
            added = file.read()
        count = len(added) // _ENTRY_BYTES
        if len(header) < _HEADER.size or count == 0:
            return
        magic, self._dimension = _HEADER.unpack(header)
        for offset in range(count):
            entry = added[offset * _ENTRY_BYTES : (offset + 1) * _ENTRY_BYTES]
            self._rows[entry[:_KEY_BYTES]] = self._entries + offset, entry[_KEY_BYTES:]
        self._entries += count
        expected = self._entries * 4 * self._dimension
        if magic != _MAGIC or not self._dimension or not self._rows_path.exists():
            raise self._damaged("its two files do not fit together")
        if self._rows_path.stat().st_size < expected:
            raise self._damaged("its two files do not fit together")
        shape = (self._entries, self._dimension)
        self._map = np.memmap(self._rows_path, dtype=np.float32, mode="r", shape=shape)

    def get(self, keys: Sequence[bytes]) -> Tensor:
        """Return a `B x d` float32 tensor of the vectors of `B >= 1` keys that are present.

        Raises:
            StateError: If a vector has changed since it was stored.
        """
        if self._map is None:
            raise self._damaged("it is empty")
        entries = [self._rows[key] for key in keys]
        rows = self._map[[row for row, _ in entries]]
        for key, (_, checksum), vector in zip(keys, entries, rows, strict=True):
            if _checksum(key, vector.tobytes()) != checksum:
                raise self._damaged("it holds vectors that have changed since they were stored")
        return torch.from_numpy(rows)

    def add(self, keys: Sequence[bytes], vectors: Tensor) -> None:
        """Store the vectors of new keys durably. Keys that are present and intact keep their vector.

        Args:
            keys: `B` keys.
            vectors: A `B x d` tensor of unit vectors.

        Raises:
            InvalidInputError: If a vector's length is not 1.
            StateError: If the cache holds vectors of another dimension.
        """
        if not _are_unit(vectors):
            raise InvalidInputError(
                "an embedding does not have length 1: the embedding model returned zeros, or numbers that are not "
                "finite; choose another model."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        dimension = vectors.shape[1]
        with self._exclusive():
            self.refresh()
            if self._dimension not in (None, dimension):
                raise self._damaged(
                    f"it holds vectors of dimension {self._dimension}, and the new ones have {dimension}"
                )
            fresh: dict[bytes, int] = {}
            for row, key in enumerate(keys):
                if not self.is_intact(key):
                    fresh.setdefault(key, row)
            rows = vectors[list(fresh.values())].to("cpu", torch.float32).contiguous().numpy()
            entries = b"".join(key + _checksum(key, row.tobytes()) for key, row in zip(fresh, rows, strict=True))
            _write(self._rows_path, self._entries * 4 * dimension, rows.tobytes())
            if self._entries == 0:
                _write(self._entries_path, 0, _HEADER.pack(_MAGIC, dimension))
            _write(self._entries_path, _HEADER.size + self._entries * _ENTRY_BYTES, entries)
            self.refresh()

    def _damaged(self, how: str) -> StateError:
        return StateError(
            f"the embedding cache {self._folder} cannot be used: {how}; delete the folder, so that the "
            "prompts are embedded again."
        )

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with open_lock(self._folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _checksum(key: bytes, row: bytes) -> bytes:
    return hashlib.blake2b(row, digest_size=_SUM_BYTES, key=key).digest()


def _are_unit(vectors: Tensor) -> bool:
    return bool(((vectors.norm(dim=1) - 1).abs() < 1e-3).all())


def _write(path: Path, offset: int, content: bytes) -> None:
    """Write `content` at `offset`, cut the file off behind it, and wait until it is on disk."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
