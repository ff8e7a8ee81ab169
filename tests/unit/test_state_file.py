import contextlib
import hashlib
import io
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import StateError
from verl_vip.state_file import read_state, write_state


def test_round_trip_makes_folders_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "global_step_2" / "state.pt"
    write_state(path, {"step": 2, "x": torch.arange(3), "names": ["a", "b"]})
    state = read_state(path)
    assert (state["step"], state["names"]) == (2, ["a", "b"])
    assert torch.equal(state["x"], torch.arange(3))
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    path = tmp_path / "state.pt"
    (tmp_path / ".state.pt.123.partial").write_bytes(b"half of it")
    write_state(path, {"x": 1})
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(StateError, match="cannot be read: it is not a file"):
        read_state(tmp_path)


def test_overwriting_replaces_the_whole_file(tmp_path):
    path = tmp_path / "state.pt"
    write_state(path, {"x": torch.zeros(10_000)})
    write_state(path, {"x": torch.ones(1)})
    assert torch.equal(read_state(path)["x"], torch.ones(1))


def test_any_flipped_or_missing_byte_is_noticed(tmp_path):
    path = tmp_path / "state.pt"
    write_state(path, {"x": torch.arange(5)})
    good = path.read_bytes()
    for position in range(0, len(good), 37):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(StateError):
            read_state(path)
    for length in (0, 1, 10, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(StateError):
            read_state(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello\nworld", "is not a state file"),
        (pickle.dumps({"x": 1}), "is not a state file"),
        (b"verl-vip state 9 abc\nxyz", "another version"),
    ],
)
def test_a_foreign_file_is_named(tmp_path, content, message):
    path = tmp_path / "state.pt"
    path.write_bytes(content)
    with pytest.raises(StateError, match=message) as caught:
        read_state(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StateError, match="does not exist"):
        read_state(tmp_path / "none.pt")


def wrapped(path, payload):
    path.write_bytes(b"verl-vip state 1 " + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
    return path


def saved(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def compressed(payload, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload)) as source, zipfile.ZipFile(out, "w", method) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    return out.getvalue()


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def doubled(levels):
    value = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


def holding_itself():
    value = []
    value.append(value)
    return value


# Each is a file of a few kilobytes that stands for gigabytes, or for work without end.
BOMBS = {
    "compressed zeros": lambda: compressed(saved({"x": torch.zeros(200_000_000, dtype=torch.uint8)})),
    "one number repeated": lambda: saved({"x": torch.zeros(1).expand(10**9)}),
    "one matrix repeated": lambda: saved({"x": torch.zeros(1, 1, dtype=torch.float64).expand(10**6, 10**6)}),
    "many views of one tensor": lambda: saved({"x": views(2000)}),
    "containers in containers": lambda: saved({"x": doubled(40)}),
    "a container that holds itself": lambda: saved({"x": holding_itself()}),
    "a deep well": lambda: saved({"x": nested(400)}),
    "a sparse tensor": lambda: saved({"x": torch.sparse_coo_tensor(torch.tensor([[0]]), [1.0], (10**12,))}),
    "bytes": lambda: saved({"x": bytearray(10)}),
    "a comment behind the archive": lambda: with_comment(saved({"x": 1})),
}


def views(count):
    whole = torch.zeros(10**5)
    return [whole[:] for _ in range(count)]


def with_comment(payload):
    out = io.BytesIO(payload)
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"PK\x05\x06" + bytes(18)
    return out.getvalue()


# In a process of its own, whose memory tells what each file took.
READ_ALL = """
import resource, sys
from pathlib import Path
import torch
from verl_vip.errors import StateError
from verl_vip.state_file import read_state
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_state(Path(path))
        print(0, "was read")
    except StateError as error:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


@pytest.mark.filterwarnings("ignore:Sparse invariant")
def test_a_file_that_would_expand_is_refused_before_it_does(tmp_path):
    paths = [wrapped(tmp_path / f"{number}.pt", bomb()) for number, bomb in enumerate(BOMBS.values())]
    assert all(path.stat().st_size < 2_000_000 for path in paths)
    command = [sys.executable, "-c", READ_ALL, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name, path, line in zip(BOMBS, paths, done.stdout.splitlines(), strict=True):
        grown, _, message = line.partition(" ")
        assert str(path) in message, f"{name}: {message}"
        assert int(grown) < 100_000, f"{name}: {grown} KiB"


def test_small_tensors_may_repeat_a_number_and_large_ones_share_their_memory(tmp_path):
    path = tmp_path / "state.pt"
    whole = torch.arange(1000.0)
    write_state(path, {"a": torch.zeros(1).expand(512), "left": whole[:500], "right": whole[500:], "none": (None, ())})
    assert torch.equal(read_state(path)["right"], whole[500:])


def of_another_layout(payload):
    # The archive is whole, and what torch reads in it is not.
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload)) as source, zipfile.ZipFile(out, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            target.writestr(member.filename, content[: len(content) // 2])
    return out.getvalue()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not an archive",
        pickle.dumps({"x": 1}),
        of_another_layout(saved({"x": torch.arange(5)})),
        saved([1, 2]),
        saved({"x": {1, 2}}),
        saved({"x": print}),
    ],
    ids=["empty", "text", "pickle", "halved", "list", "set", "function"],
)
def test_whatever_torch_says_of_a_payload_is_said_of_the_state(tmp_path, payload):
    path = wrapped(tmp_path / "state.pt", payload)
    with pytest.raises(StateError) as caught:
        read_state(path)
    assert str(path) in str(caught.value)


@given(st.data())
def test_no_change_within_an_archive_gets_past(tmp_path_factory, data):
    # The checksum is made right again, as by somebody who means it.
    path = tmp_path_factory.mktemp("state") / "state.pt"
    payload = bytearray(saved({"step": 2, "x": torch.arange(6.0), "names": ["a", "b"], "none": None}))
    for _ in range(data.draw(st.integers(1, 8))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    wrapped(path, bytes(payload))
    with contextlib.suppress(StateError):
        assert isinstance(read_state(path), dict)
