"""Whose process is whose: nobody's is ended because of what stands in a file."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from verl_vip.errors import JobError
from verl_vip.execution import Job, JobState, LocalExecutor
from verl_vip.execution.files import (
    ENTRY_FILE,
    LOCK_FILE,
    is_locked,
    keeper_command,
    lock_holder,
    other_work,
    read_entry,
)
from verl_vip.execution.processes import MARK, Process, command_line, descendants, end, family, mark_of

SLEEP = ("sleep", "600")  # longer than any test: it is ended, it does not end


@pytest.fixture
def executor():
    return LocalExecutor(grace_s=1)


@pytest.fixture
def spawn():
    """Start processes of somebody else, each the leader of its own session; they are ended afterwards."""
    started = []

    def start(*command: str, **environment: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def job_in(folder: Path, *command: str) -> Job:
    return Job("run", command or SLEEP, folder, "a")


def forge(folder: Path, process: "subprocess.Popen[str]", **changes: object) -> None:
    """Leave an entry that names a stranger as keeper and as the command's group, in the fields of every release."""
    started = Process.of(process.pid)
    assert started is not None
    folder.mkdir(exist_ok=True)
    entry = {
        "attempt": 1,
        "state": "running",
        "fingerprint": "a",
        "host": socket.gethostname(),
        "pid": process.pid,
        "pid_start": started.start,
        "log_start": 0,
        "started_at": time.time(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "group": process.pid,
        "group_start": started.start,
        **changes,
    }
    (folder / ENTRY_FILE).write_text(json.dumps(entry))


@pytest.mark.parametrize("changes", [{}, {"group_start": None}, {"boot": ""}])
def test_a_start_ends_nobody_that_an_entry_names(executor, spawn, tmp_path, changes):
    stranger = spawn(*SLEEP)
    forge(tmp_path / "run", stranger, **changes)
    job = job_in(tmp_path / "run")
    assert executor.start(job).attempt == 2
    executor.stop(job)
    assert stranger.poll() is None


IN_A_NAMESPACE = """
import json, subprocess, sys
from pathlib import Path
from verl_vip.execution import Job, LocalExecutor
from verl_vip.execution.files import ENTRY_FILE
folder = Path(sys.argv[1])
entry = json.loads((folder / ENTRY_FILE).read_text())
bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
for group in (1, 0, -1, bystander.pid):
    (folder / ENTRY_FILE).write_text(json.dumps({**entry, "group": group, "group_start": None, "pid": group}))
    job = Job("run", ("sleep", "600"), folder, "a")
    LocalExecutor(grace_s=1).start(job)
    LocalExecutor(grace_s=1).stop(job)
    assert bystander.poll() is None, group
print("alive")
"""


def test_group_one_is_not_everybody(spawn, tmp_path):
    """In a namespace of its own, where a signal to everybody reaches nobody else."""
    enter = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a namespace of its own needs the right to make one")
    forge(tmp_path / "run", spawn(*SLEEP))
    done = subprocess.run(
        [*enter, sys.executable, "-c", IN_A_NAMESPACE, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "alive\n", done.stderr


def test_a_copy_of_a_live_jobs_folder_does_not_command_it(executor, tmp_path):
    job, copy = job_in(tmp_path / "run"), job_in(tmp_path / "copy")
    executor.start(job)
    shutil.copytree(job.folder, copy.folder)
    (copied,) = family(mark_of(job.folder))
    executor.stop(copy)
    executor.start(copy)
    executor.stop(copy)
    assert family(mark_of(job.folder)) == [copied]
    executor.stop(job)
    assert family(mark_of(job.folder)) == []


def test_a_stop_asks_the_holder_of_the_lock_and_not_whom_the_entry_names(executor, spawn, tmp_path):
    job, stranger = job_in(tmp_path / "run"), spawn(*SLEEP)
    executor.start(job)
    keeper = read_entry(job.folder).pid
    assert lock_holder(job.folder) == keeper
    forge(job.folder, stranger)
    executor.stop(job)
    assert not is_locked(job.folder)
    assert stranger.poll() is None
    assert executor.status(job).state is JobState.STOPPED


HOLD = """
import fcntl, sys
lock = open(sys.argv[1], "r+")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_stranger_that_holds_the_lock_is_left_alone(executor, spawn, tmp_path):
    job = job_in(tmp_path / "run")
    job.folder.mkdir()
    (job.folder / LOCK_FILE).touch()
    stranger = spawn(sys.executable, "-c", HOLD, str(job.folder / LOCK_FILE))
    assert stranger.stdout.readline() == "held\n"
    forge(job.folder, stranger)
    with pytest.raises(JobError, match=rf"is locked by process {stranger.pid}, which does not run a job"):
        executor.stop(job)
    assert stranger.poll() is None


def test_a_copy_by_hard_links_does_not_command_the_job_either(executor, tmp_path):
    """The two have one lock file."""
    job, copy = job_in(tmp_path / "run"), job_in(tmp_path / "copy")
    executor.start(job)
    subprocess.run(["cp", "-al", str(job.folder), str(copy.folder)], check=True)
    keeper, running = lock_holder(job.folder), family(mark_of(job.folder))
    assert lock_holder(copy.folder) == keeper
    for use in (executor.stop, executor.start):
        with pytest.raises(
            JobError, match=rf"is locked by process {keeper}, which runs the job of {job.folder}; .* is a copy of"
        ):
            use(copy)
    assert executor.status(copy).state is JobState.LOST
    assert executor.status(job).state is JobState.RUNNING
    assert (lock_holder(job.folder), family(mark_of(job.folder))) == (keeper, running)
    executor.stop(job)
    assert executor.start(copy).attempt == 2  # nobody holds the lock any more
    executor.stop(copy)


def test_a_folder_is_the_same_by_whatever_path(executor, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    job, same = job_in(tmp_path / "real" / "run"), job_in(tmp_path / "link" / "." / "run")
    executor.start(job)
    assert executor.start(same).attempt == 1
    executor.stop(same)
    assert executor.status(job).state is JobState.STOPPED


def test_a_keeper_is_known_by_its_whole_command(executor, spawn, tmp_path):
    folder = tmp_path / "run"
    executor.start(job_in(folder))
    keeper = Process.of(lock_holder(folder))
    assert command_line(keeper.pid) == keeper_command(folder)
    assert other_work(keeper.pid, folder) == ""
    words = keeper_command(folder)[1:]
    for strange in (words, words[1:], words[:-1], [words[-2]], [*words, "x"], ["x", *words]):
        stranger = spawn(sys.executable, "-c", "print(1, flush=True); input()", *strange)
        assert stranger.stdout.readline() == "1\n"
        assert other_work(stranger.pid, folder) == "does not run a job of verl-vip"
    executor.stop(job_in(folder))
    while command_line(keeper.pid):  # it lets the lock go with its last breath
        time.sleep(0.02)
    assert other_work(keeper.pid, folder) is None


def test_marks_that_only_resemble_a_jobs(executor, spawn, tmp_path):
    folders = [tmp_path / name for name in ("run", "run-1", "run-10", "Run")]
    for folder in folders:
        folder.mkdir()
    marks = [mark_of(folder) for folder in folders]
    assert len(set(marks)) == len(folders)
    others = {
        "prefix": {MARK: marks[1][:-1]},
        "longer": {MARK: marks[1] + "0"},
        "neighbour": {MARK: marks[2]},
        "other variable": {f"X_{MARK}": marks[1]},
        "in a value": {"X": f"{MARK}={marks[1]}"},
        "empty": {MARK: ""},
    }
    strangers = {name: spawn(*SLEEP, **environment) for name, environment in others.items()}
    own = spawn(*SLEEP, **{MARK: marks[1]})
    assert [one.pid for one in family(marks[1])] == [own.pid]
    executor.start(job_in(folders[1]))
    executor.stop(job_in(folders[1]))
    assert own.wait(30) == -signal.SIGKILL
    assert {name for name, stranger in strangers.items() if stranger.poll() is not None} == set()


def test_a_child_without_the_mark_is_of_its_parents_family(spawn, tmp_path):
    child = "import subprocess; print(subprocess.Popen(['env', '-i', 'sleep', '600']).pid, flush=True); input()"
    parent = spawn(sys.executable, "-c", child, **{MARK: mark_of(tmp_path)})
    pid = int(parent.stdout.readline())
    assert {one.pid for one in family(mark_of(tmp_path))} == {parent.pid, pid}
    assert {one.pid for one in descendants(parent.pid)} == {pid}
    assert end(lambda: family(mark_of(tmp_path)), signal.SIGKILL, 30) == []
    assert parent.wait(30) == -signal.SIGKILL


def test_a_mark_is_found_in_a_folder_of_any_name(executor, tmp_path):
    folder = tmp_path / os.fsdecode(b"a = b\nc;$\xff \xc3\xa4")
    job = Job("run", (sys.executable, "-c", textwrap.dedent(ORPHAN)), folder, "a")
    executor.start(job)
    while not executor.read_log(job, 0)[0]:
        time.sleep(0.02)
    os.kill(read_entry(folder).pid, signal.SIGKILL)
    while is_locked(folder):
        time.sleep(0.02)
    assert {one.pid for one in family(mark_of(folder))} >= {int(executor.read_log(job, 0)[0][0])}
    executor.stop(job)
    assert family(mark_of(folder)) == []


ORPHAN = """
import subprocess, sys, time
print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, flush=True)
time.sleep(600)
"""


def test_a_job_that_a_job_starts_is_a_job_of_its_own(executor, tmp_path):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    code = f"""
import time
from pathlib import Path
from verl_vip.execution import Job, LocalExecutor
LocalExecutor().start(Job("inner", {SLEEP!r}, Path({str(inner)!r}), "a"))
print("started", flush=True)
time.sleep(600)
"""
    job = Job("outer", (sys.executable, "-c", code), outer, "a")
    executor.start(job)
    while not executor.read_log(job, 0)[0]:
        time.sleep(0.02)
    os.kill(read_entry(outer).pid, signal.SIGKILL)
    while is_locked(outer):
        time.sleep(0.02)
    executor.stop(job)
    assert is_locked(inner)
    assert len(family(mark_of(inner))) == 1
    executor.stop(Job("inner", SLEEP, inner, "a"))


def test_a_number_that_was_given_away_gets_no_signal(spawn):
    stranger = spawn(*SLEEP)
    known = Process.of(stranger.pid)
    Process(known.pid, known.start - 1).send(signal.SIGKILL)
    assert stranger.poll() is None
    known.send(signal.SIGKILL)
    assert stranger.wait(30) == -signal.SIGKILL
    known.send(signal.SIGKILL)  # it is gone: nothing to do
    assert Process.of(stranger.pid) is None
