"""The password of the server: who can read it, and who is shown it."""

import os
import stat
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings

from verl_vip.errors import ConfigError
from verl_vip.flows import access


@pytest.fixture
def file(tmp_path):
    """Where the password of port 4200 is looked for."""
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL, PREFECT_API_AUTH_STRING}):
        yield access.password_file(4200)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_only_its_owner_can_read_it_whatever_the_umask(file, mask):
    before = os.umask(mask)
    try:
        password = access.make_password(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert access.read_password(file) == password
    assert len(password.partition(":")[2]) >= 32


def test_each_server_has_its_own(file, tmp_path):
    assert access.make_password(file) != access.make_password(tmp_path / "other")


def test_a_planted_link_is_not_written_through(file, tmp_path):
    target = tmp_path / "precious"
    target.write_text("kept")
    file.symlink_to(target)
    with pytest.raises(FileExistsError):
        access.make_password(file)
    assert target.read_text() == "kept"


def link(file: Path) -> None:
    known = file.with_name("known")
    known.write_text("verl-vip:known\n")
    known.chmod(0o600)
    file.symlink_to(known)


def readable(file: Path) -> None:
    file.write_text("verl-vip:known\n")
    file.chmod(0o640)


def writable(file: Path) -> None:
    file.write_text("verl-vip:known\n")
    file.chmod(0o602)


def of_another_user(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    file.write_text("verl-vip:known\n")
    file.chmod(0o600)
    os.chown(file, 12345, -1)


def pipe(file: Path) -> None:
    os.mkfifo(file, 0o600)


@pytest.mark.parametrize("planted", [link, readable, writable, of_another_user, pipe])
def test_a_password_that_somebody_else_knows_is_refused(file, planted):
    planted(file)
    with pytest.raises(ConfigError, match=r"the next `make server` makes a new one: rm '.*4200"):
        access.read_password(file)


@pytest.mark.parametrize("text", ["", "\n", "secret", ":secret", "user:", "two words:x", "a:b c"])
def test_a_file_that_holds_no_password_is_refused(file, text):
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="does not contain a valid password"):
        access.read_password(file)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:4200/api", True),
        ("http://localhost:4200/api", True),
        ("http://127.0.0.1:4300/api", False),  # of another server, perhaps another user's
        ("http://192.0.2.7:4200/api", False),
        ("http://127.0.0.1.example.com:4200/api", False),
        ("http://127.0.0.1:4200@example.com/api", False),
        ("https://api.prefect.cloud/api/accounts/1/workspaces/2", False),
    ],
)
def test_the_password_is_shown_to_its_own_server_alone(file, url, shown):
    password = access.make_password(file)
    with temporary_settings({PREFECT_API_URL: url}):
        with access.with_password():
            assert PREFECT_API_AUTH_STRING.value() == (password if shown else None)
        assert PREFECT_API_AUTH_STRING.value() is None


def test_a_password_of_prefects_own_settings_goes_first(file):
    access.make_password(file)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api", PREFECT_API_AUTH_STRING: "me:mine"}),
        access.with_password(),
    ):
        assert PREFECT_API_AUTH_STRING.value() == "me:mine"


def test_a_server_without_a_password_of_ours_is_used_as_it_is(file):
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}), access.with_password():
        assert PREFECT_API_AUTH_STRING.value() is None
