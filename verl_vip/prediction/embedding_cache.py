"""Embeddings on disk: written once, read through a memory map, whole again after a kill at any moment.

A cache is a folder with two files that only ever grow: `vectors.f32`, one float32 row an entry, and
`keys.bin`, which starts with the length of a row and then has 16 bytes an entry. A row is on the disk
before its key is written, so whatever keys are there have their rows; bytes beyond the last whole entry are
the remains of an interrupted write and are cut off by the next one.
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

_KEY_BYTES = 16
_HEADER = struct.Struct("<8sQ")
_MAGIC = b"vipembed"


def content_key(*content: str) -> bytes:
    """Return the 16-byte key of an entry that is determined by these texts."""
    joined = "\0".join(content).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=_KEY_BYTES).digest()


class EmbeddingCache:
    """A growing map from 16-byte keys to unit vectors.

    Several processes may use one folder: a lock file lets one write at a time, and a writer takes up what
    others wrote before it adds its own.

    Args:
        folder: Where the two files lie; created by the first write.

    Raises:
        StateError: If the files do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._vectors_path, self._keys_path = folder / "vectors.f32", folder / "keys.bin"
        self._dimension: int | None = None
        self._rows: dict[bytes, int] = {}
        self._entries = 0
        self._map: np.ndarray | None = None
        self.refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def refresh(self) -> None:
        """Take up what other processes have added.

        Raises:
            StateError: If the files do not fit together.
        """
        if not self._keys_path.exists():
            return
        with self._keys_path.open("rb") as file:
            header = file.read(_HEADER.size)
            file.seek(_HEADER.size + self._entries * _KEY_BYTES)
            added = file.read()
        count = len(added) // _KEY_BYTES
        if len(header) < _HEADER.size or count == 0:
            return
        magic, self._dimension = _HEADER.unpack(header)
        for offset in range(count):
            key = added[offset * _KEY_BYTES : (offset + 1) * _KEY_BYTES]
            self._rows.setdefault(key, self._entries + offset)
        self._entries += count
        expected = self._entries * 4 * self._dimension
        if magic != _MAGIC or not self._vectors_path.exists() or self._vectors_path.stat().st_size < expected:
            raise self._damaged("its two files do not fit together")
        shape = (self._entries, self._dimension)
        self._map = np.memmap(self._vectors_path, dtype=np.float32, mode="r", shape=shape)

    def get(self, keys: Sequence[bytes]) -> Tensor:
        """Return a `B x d` float32 tensor of the vectors of `B >= 1` keys that are present.

        Raises:
            StateError: If what is stored is not a unit vector.
        """
        if self._map is None:
            raise self._damaged("it is empty")
        vectors = torch.from_numpy(self._map[[self._rows[key] for key in keys]])
        if not _are_unit(vectors):
            raise self._damaged("it holds vectors whose length is not 1")
        return vectors

    def add(self, keys: Sequence[bytes], vectors: Tensor) -> None:
        """Store the vectors of new keys durably; keys that are present already keep their vector.

        Args:
            keys: `B` keys.
            vectors: A `B x d` tensor of unit vectors.

        Raises:
            InvalidInputError: If a vector's length is not 1.
            StateError: If the cache holds vectors of another dimension.
        """
        if not _are_unit(vectors):
            raise InvalidInputError(
                "an embedding is not of length 1: the embedding model gave zeros, or numbers that are not finite; "
                "choose another model."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        dimension = vectors.shape[1]
        with self._exclusive():
            self.refresh()
            if self._dimension not in (None, dimension):
                raise self._damaged(f"it holds vectors of dimension {self._dimension}, and these have {dimension}")
            fresh: dict[bytes, int] = {}
            for row, key in enumerate(keys):
                if key not in self._rows:
                    fresh.setdefault(key, row)
            rows = vectors[list(fresh.values())].to("cpu", torch.float32).contiguous().numpy()
            _write(self._vectors_path, self._entries * 4 * dimension, rows.tobytes())
            if self._entries == 0:
                _write(self._keys_path, 0, _HEADER.pack(_MAGIC, dimension))
            _write(self._keys_path, _HEADER.size + self._entries * _KEY_BYTES, b"".join(fresh))
            self.refresh()

    def _damaged(self, how: str) -> StateError:
        return StateError(
            f"the embedding cache {self._folder} cannot be used: {how}; delete the folder, and the "
            "prompts are embedded anew."
        )

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with open_lock(self._folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _are_unit(vectors: Tensor) -> bool:
    return bool(((vectors.norm(dim=1) - 1).abs() < 1e-3).all())


def _write(path: Path, offset: int, content: bytes) -> None:
    """Put `content` at `offset`, drop what was there or behind it, and wait until it is on the disk."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
