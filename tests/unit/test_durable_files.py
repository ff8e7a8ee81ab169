import json
import math
import os
import re
import threading
from pathlib import Path

import pytest
from fixtures import ROOT
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.durable_files import cut_torn_line, open_lock, replace_file, replace_json
from verl_vip.errors import StateError


def test_a_file_is_replaced_with_its_permissions_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / "data.json"
    replace_json(path, {"a": 1})
    path.chmod(0o600)
    replace_json(path, {"a": [2, "é"]})
    assert json.loads(path.read_text()) == {"a": [2, "é"]}
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["data.json"]


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


def without_infinities(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_infinities(one) for key, one in value.items()}
    return [without_infinities(one) for one in value] if isinstance(value, list) else value


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_a_json_file_is_strict_and_what_is_no_number_is_null(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "data.json"
    replace_json(path, value)
    assert json.loads(path.read_text(), parse_constant=refuse_constant) == without_infinities(value)


def test_no_other_code_writes_json_files():
    """Lines of JSON are appended by those who own the file; whole files are written in one place."""
    written = re.compile(
        r"json\.dump\(|write_(?:text|bytes)\([^\n]*json\.dumps|replace_file\([^\n]*json\.dumps\([^\n]*indent"
    )
    sources = [path for room in ("verl_vip", "workers", "flows", "recipes") for path in (ROOT / room).rglob("*.py")]
    assert len(sources) > 100
    found = [path.relative_to(ROOT) for path in sources if written.search(path.read_text())]
    assert set(found) == {Path("verl_vip/durable_files.py")}


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "data"
    replace_file(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["data"]


@given(st.binary(max_size=40))
def test_what_follows_the_last_line_end_is_cut(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("lines") / "lines"
    path.write_bytes(content)
    with path.open("ab+") as file:
        cut = cut_torn_line(file)
    whole = content[: content.rfind(b"\n") + 1]
    assert path.read_bytes() == whole
    assert cut == len(content) - len(whole)


@given(st.binary(max_size=40))
def test_a_lock_file_is_made_and_what_one_holds_stays(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("locks") / "lock"
    with pytest.raises(FileNotFoundError):
        open_lock(path, create=False)
    open_lock(path).close()
    assert path.read_bytes() == b""
    path.write_bytes(content)
    for create in (True, False):
        open_lock(path, create).close()
    assert path.read_bytes() == content


def plant(kind: str, path) -> None:
    """Put something else than a file where a lock is to be."""
    target = path.with_name("target")
    if kind == "link":
        target.write_text("precious")
        path.symlink_to(target)
    elif kind == "dangling link":
        path.symlink_to(target)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("kind", ["link", "dangling link", "device", "folder", "pipe"])
def test_what_was_planted_in_place_of_a_lock_is_neither_followed_nor_changed(tmp_path, kind, create):
    path = tmp_path / "lock"
    plant(kind, path)
    with pytest.raises(StateError, match=r"lock must be a lock file, but something else is in its place; .* remove it"):
        open_lock(path, create)
    target = tmp_path / "target"
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_text() == "precious"


def test_a_link_in_place_of_the_unfinished_file_is_not_followed(tmp_path):
    target, path = tmp_path / "target", tmp_path / "data"
    target.write_text("precious")
    (tmp_path / f".data.{os.getpid()}-{threading.get_ident()}.partial").symlink_to(target)
    replace_file(path, b"new")
    assert target.read_text() == "precious"
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
