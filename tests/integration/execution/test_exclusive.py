"""Of two processes one gives way."""

import os
import signal
import subprocess
import sys

import pytest

from verl_vip.errors import ConfigError, StateError
from verl_vip.execution.exclusive import exclusive, hold

CODE = """
import sys
from pathlib import Path
from verl_vip.execution.exclusive import exclusive
with exclusive(Path(sys.argv[1]), "the work"):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    lock = tmp_path / "new" / ".lock"
    first = subprocess.Popen(
        [sys.executable, "-c", CODE, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "mine\n"
    with (
        pytest.raises(ConfigError, match="another process is working on the work; wait for it or stop it"),
        exclusive(lock, "the work"),
    ):
        pytest.fail("two at a time")
    first.kill()
    first.communicate(timeout=30)
    with exclusive(lock, "the work"):
        assert lock.exists()


HOLD = """
import os, sys, time
from pathlib import Path
from verl_vip.execution.exclusive import hold
for _ in range(3):
    hold(Path(sys.argv[1]), "the work")  # what holds it may be gone; the lock is not
if os.fork() == 0:
    time.sleep(600)  # a forked child outlives its parent
print("mine", flush=True)
time.sleep(600)
"""


def test_a_lock_held_for_good_is_free_when_the_process_dies_and_not_before(tmp_path):
    lock = tmp_path / "new" / ".lock"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        for _ in range(2):
            with pytest.raises(ConfigError, match="another process is working on the work; wait for it or stop it"):
                hold(lock, "the work")
        first.kill()
        first.wait(timeout=30)
        hold(lock, "the work")
    finally:
        os.killpg(first.pid, signal.SIGKILL)


def test_a_planted_link_is_not_followed(tmp_path):
    target, lock = tmp_path / "target", tmp_path / ".lock"
    target.write_text("precious")
    lock.symlink_to(target)
    with pytest.raises(StateError, match=r"\.lock must be a lock file"), exclusive(lock, "the work"):
        pytest.fail("it was followed")
    assert target.read_text() == "precious"
