import contextlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError, StateError
from verl_vip.prediction.embedding_cache import EmbeddingCache, content_key

KEYS = [content_key(str(i)) for i in range(50)]


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    points = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(points, dim=1)


def test_what_was_written_comes_back_bit_for_bit(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.add(KEYS[:20], vectors(20))
    cache.add(KEYS[15:30], vectors(15, seed=1))
    again = EmbeddingCache(tmp_path)
    assert len(again) == 30
    assert torch.equal(again.get(KEYS[:20]), vectors(20))
    assert torch.equal(again.get([KEYS[29], KEYS[20]]), vectors(15, seed=1)[[14, 5]])
    assert KEYS[30] not in again


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_write_cut_off_anywhere_loses_only_itself(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cache")
    cache = EmbeddingCache(folder)
    cache.add(KEYS[:5], vectors(5))
    files = [folder / "rows.f32", folder / "entries.bin"]
    sizes = [file.stat().st_size for file in files]
    cache.add(KEYS[5:9], vectors(4, seed=1))
    # The second file is only begun when the first is complete.
    cut = data.draw(st.integers(0, 1))
    for position in range(cut, 2):
        whole = files[position].read_bytes()
        end = data.draw(st.integers(sizes[position], len(whole))) if position == cut else sizes[position]
        files[position].write_bytes(whole[:end])
    again = EmbeddingCache(folder)
    assert torch.equal(again.get(KEYS[:5]), vectors(5))
    again.add(KEYS[5:9], vectors(4, seed=1))
    assert torch.equal(EmbeddingCache(folder).get(KEYS[:9]), torch.cat([vectors(5), vectors(4, seed=1)]))


# Started anew: a fork of a process that has differentiated cannot use torch.
WRITE_ONE_BY_ONE = """
import sys
import torch
from pathlib import Path
from verl_vip.prediction.embedding_cache import EmbeddingCache, content_key
cache = EmbeddingCache(Path(sys.argv[1]))
for i in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    cache.add([content_key(str(i))], torch.eye(64)[i : i + 1])
"""


def test_two_processes_may_write_at_once(tmp_path):
    commands = [[sys.executable, "-c", WRITE_ONE_BY_ONE, str(tmp_path), first] for first in ("0", "10")]
    writers = [subprocess.Popen(command) for command in commands]
    assert [writer.wait() for writer in writers] == [0, 0]
    cache = EmbeddingCache(tmp_path)
    assert len(cache) == 30
    assert torch.equal(cache.get(KEYS[:30]), torch.eye(64)[:30])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_flipped_bit_gets_past_wherever_it_is(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cache")
    EmbeddingCache(folder).add(KEYS[:6], vectors(6))
    file = folder / data.draw(st.sampled_from(["rows.f32", "entries.bin"]))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    with contextlib.suppress(StateError):
        cache = EmbeddingCache(folder)
        for row, key in enumerate(KEYS[:6]):
            if cache.is_intact(key):
                assert torch.equal(cache.get([key]), vectors(6)[row : row + 1])
        cache.add(KEYS[:6], vectors(6))
        assert torch.equal(cache.get(KEYS[:6]), vectors(6))
        assert torch.equal(EmbeddingCache(folder).get(KEYS[:6]), vectors(6))


def test_exchanged_rows_are_noticed_and_replaced(tmp_path):
    EmbeddingCache(tmp_path).add(KEYS[:4], vectors(4))
    file = tmp_path / "rows.f32"
    rows = np.fromfile(file, np.float32).reshape(4, 8)
    rows[[1, 2, 3, 0]].tofile(file)
    cache = EmbeddingCache(tmp_path)
    assert not any(map(cache.is_intact, KEYS[:4]))
    with pytest.raises(StateError, match="changed since they were stored"):
        cache.get(KEYS[:1])
    cache.add(KEYS[:4], vectors(4))
    assert torch.equal(EmbeddingCache(tmp_path).get(KEYS[:4]), vectors(4))


def test_a_cache_without_checksums_is_neither_read_nor_touched(tmp_path):
    old = {"vectors.f32": vectors(2).numpy().tobytes(), "keys.bin": b"vipembed" + bytes(40)}
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    cache = EmbeddingCache(tmp_path)
    assert len(cache) == 0
    cache.add(KEYS[:2], vectors(2))
    assert {name: (tmp_path / name).read_bytes() for name in old} == old


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf"), 0.5])
def test_a_vector_without_direction_is_not_stored(tmp_path, bad):
    cache = EmbeddingCache(tmp_path)
    with pytest.raises(InvalidInputError, match="does not have length 1"):
        cache.add(KEYS[:2], torch.tensor([[1.0, 0.0], [bad, 0.0]]))
    assert len(EmbeddingCache(tmp_path)) == 0


def test_damage_is_reported(tmp_path):
    cache = EmbeddingCache(tmp_path)
    with pytest.raises(StateError, match="it is empty"):
        cache.get(KEYS[:1])
    cache.add(KEYS[:5], vectors(5))
    with pytest.raises(StateError, match="dimension 8, and the new ones have 9"):
        cache.add(KEYS[5:6], torch.ones(1, 9) / 3)
    file = tmp_path / "rows.f32"
    whole = file.read_bytes()
    file.write_bytes(bytes(len(whole)))
    with pytest.raises(StateError, match="changed since they were stored; delete the folder"):
        EmbeddingCache(tmp_path).get(KEYS[:1])
    file.write_bytes(whole[:-4])
    with pytest.raises(StateError, match="do not fit together"):
        EmbeddingCache(tmp_path)


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(StateError, match="lock must be a lock file"):
        EmbeddingCache(folder).add([content_key("a")], vectors(1))
    assert (tmp_path / "target").read_text() == "precious"
