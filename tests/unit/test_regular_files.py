import os

import pytest

from verl_vip.errors import StateError
from verl_vip.regular_files import read_regular


def test_a_file_and_a_link_to_it_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "file") == read_regular(tmp_path / "link") == b"content"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "file does not exist"),
        (lambda path: path.mkdir(), "file is a folder and should be a file; remove it"),
        (os.mkfifo, "file is not a regular file; remove it"),
        (lambda path: path.symlink_to("/dev/zero"), "file is not a regular file; remove it"),
        (lambda path: path.symlink_to("nowhere"), "file is a link to nowhere, which does not exist"),
        (lambda path: path.symlink_to("file"), "file cannot be read: Too many levels of symbolic links"),
    ],
)
def test_anything_else_is_named_at_once(tmp_path, make, why):
    make(tmp_path / "file")
    with pytest.raises(StateError, match=rf"{tmp_path}/{why}\.$"):
        read_regular(tmp_path / "file")
