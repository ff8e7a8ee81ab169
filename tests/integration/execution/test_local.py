"""Jobs as real processes: one at a time, found again, stopped, and never left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from verl_vip.errors import ConfigError, InvalidInputError, JobError, StateError
from verl_vip.execution import Job, JobState, LocalExecutor, follow
from verl_vip.execution.files import ENTRY_FILE, LOCK_FILE, LOG_FILE, is_locked, read_entry

ENTRY = {
    "attempt": 1,
    "state": "running",
    "fingerprint": "a",
    "host": "here",
    "pid": 1,
    "log_start": 0,
    "started_at": 0.0,
}
WAIT = "import time; print('here', flush=True); time.sleep(600)"


@pytest.fixture
def executor():
    return LocalExecutor(grace_s=1)


@pytest.fixture
def make(tmp_path, executor):
    made = []

    def job(code: str, name: str = "run", fingerprint: str = "a", **environment: str) -> Job:
        folder = tmp_path / name
        command = (sys.executable, "-c", textwrap.dedent(code))
        made.append(Job(name, command, folder, fingerprint, environment))
        return made[-1]

    yield job
    for one in made:
        executor.stop(one)


def finish(executor, job):
    lines: list[str] = []
    return follow(executor, job, lines.append, poll_s=0.02), lines


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end while its state is read
        return False


def wait_until(condition, timeout=500):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_runs_with_its_environment_and_its_log_is_read_to_the_last_word(executor, make):
    job = make("import os; print('one'); print(os.environ['WHICH'], end='')", WHICH="attempt-{attempt}")
    assert executor.status(job) is None
    executor.start(job)
    status, lines = finish(executor, job)
    assert (status.attempt, status.state, status.exit_code) == (1, JobState.SUCCEEDED, 0)
    assert lines == ["one", "attempt-1"]
    executor.start(job)
    status, lines = finish(executor, job)
    assert status.attempt == 2
    assert lines == ["one", "attempt-2"]


def until(path: Path) -> str:
    """Code that ends when a file is there."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.02)"


def test_of_many_starts_at_once_one_starts(executor, make, tmp_path):
    job = make(f"print('start', flush=True)\n{until(tmp_path / 'go')}")
    found = []
    threads = [threading.Thread(target=lambda: found.append(LocalExecutor().start(job))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status.attempt for status in found] == [1] * 6
    (tmp_path / "go").touch()
    _, lines = finish(executor, job)
    assert lines == ["start"]
    assert (job.folder / "job.log").read_text().count("start") == 1


def test_a_live_job_with_other_settings_is_not_taken_for_this_one(executor, make):
    executor.start(make(WAIT))
    with pytest.raises(ConfigError, match="already running with other settings"):
        executor.start(make(WAIT, fingerprint="b"))


def test_failure_says_how_it_ended(executor, make):
    job = make("raise SystemExit(3)")
    executor.start(job)
    status, _ = finish(executor, job)
    assert (status.state, status.exit_code, status.message) == (JobState.FAILED, 3, "ended with status 3")
    assert not status.was_killed


def test_a_killed_command_is_told_from_one_that_failed(executor, make):
    job = make("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    executor.start(job)
    status, _ = finish(executor, job)
    assert (status.state, status.exit_code) == (JobState.FAILED, -9)
    assert status.message == "ended by signal 9 (Killed)"
    assert status.was_killed


def test_a_program_that_does_not_exist(executor, tmp_path):
    job = Job("run", ("/no/such/program",), tmp_path / "run", "a")
    with pytest.raises(JobError, match="No such file or directory: '/no/such/program'"):
        executor.start(job)
    status = executor.status(job)
    assert status is not None
    assert status.state is JobState.FAILED


DEAF_FAMILY = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    processes = [subprocess.Popen([sys.executable, "-c", child], start_new_session=new) for new in (False, True)]
    print(os.getpid(), *(process.pid for process in processes), flush=True)
    time.sleep(600)
"""


def first_line(executor, job) -> str:
    wait_until(lambda: executor.read_log(job, 0)[0])
    return executor.read_log(job, 0)[0][0]


def test_stop_ends_even_those_that_do_not_listen(executor, make):
    job = make(DEAF_FAMILY)
    executor.start(job)
    pids = [int(word) for word in first_line(executor, job).split()]
    assert all(map(alive, pids))
    executor.stop(job)
    status = executor.status(job)
    assert status is not None
    assert status.state is JobState.STOPPED
    assert not any(map(alive, pids))
    executor.stop(job)  # nothing to do


def test_a_stop_that_comes_before_the_keepers_first_word(executor, make):
    job = make(WAIT)
    executor.start(job)
    (job.folder / ENTRY_FILE).unlink()  # as it is between the lock and the first word
    executor.stop(job)
    assert not is_locked(job.folder)
    assert executor.status(job).state is JobState.STOPPED


def test_a_keeper_that_is_asked_to_stop_before_it_begins_starts_nothing(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    specification = {
        "command": ["touch", str(folder / "started")],
        "environment": {},
        "fingerprint": "a",
        "grace_s": 1,
    }
    # In a process of its own, since a keeper takes its process's signals and children.
    code = f"""
import os, signal
from pathlib import Path
from verl_vip.execution.keeper import Keeper, _new_entry
keeper = Keeper(Path({str(folder)!r}), {specification!r})
keeper.heed_signals()
os.kill(os.getpid(), signal.SIGTERM)
keeper.run(_new_entry(keeper._folder, "a"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "started\n"
    assert read_entry(folder).state is JobState.STOPPED
    assert not (folder / "started").exists()


def test_what_a_command_leaves_behind_is_ended_with_it(executor, make):
    job = make("""
        import subprocess, sys
        orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        print(orphan.pid, flush=True)
    """)
    executor.start(job)
    status, lines = finish(executor, job)
    assert status.state is JobState.SUCCEEDED
    assert not alive(int(lines[0]))


def test_a_killed_keeper_takes_the_command_with_it_and_the_next_attempt_clears_the_rest(executor, make):
    job = make(DEAF_FAMILY)
    executor.start(job)
    remains = kill_keeper(executor, job)
    status, _ = finish(executor, job)
    assert status.state is JobState.LOST
    assert status.was_killed
    assert "killed from outside" in status.message
    assert all(map(alive, remains))  # not everything dies with its parent
    assert executor.start(job).attempt == 2
    assert not any(map(alive, remains))


def test_a_stop_ends_what_a_killed_keeper_left_behind(executor, make):
    job = make(DEAF_FAMILY)
    executor.start(job)
    remains = kill_keeper(executor, job)
    executor.stop(job)
    assert not any(map(alive, remains))


def kill_keeper(executor, job) -> list[int]:
    """Kill the keeper of a deaf family; returns its children, of the same group and of another session."""
    leader, *children = (int(word) for word in first_line(executor, job).split())
    os.kill(read_entry(job.folder).pid, signal.SIGKILL)
    wait_until(lambda: not alive(leader))
    return children


def test_the_job_outlives_who_started_it_and_is_found_again(executor, make, tmp_path):
    job = make(f"print('begin', flush=True)\n{until(tmp_path / 'go')}\nprint('end')")
    code = f"""
import os, signal
from pathlib import Path
from verl_vip.execution import Job, LocalExecutor
LocalExecutor().start(Job({job.name!r}, {job.command!r}, Path({str(job.folder)!r}), {job.fingerprint!r}))
os.kill(os.getpid(), signal.SIGKILL)
"""
    starter = subprocess.run([sys.executable, "-c", code], check=False)
    assert starter.returncode == -signal.SIGKILL
    assert executor.start(job).state is JobState.RUNNING
    (tmp_path / "go").touch()
    status, lines = finish(executor, job)
    assert (status.attempt, status.state) == (1, JobState.SUCCEEDED)
    assert lines == ["begin", "end"]


def test_looking_never_takes_the_lock(executor, make):
    job = make(WAIT)
    executor.start(job)
    assert is_locked(job.folder)
    executor.stop(job)
    assert not is_locked(job.folder)
    assert not is_locked(job.folder / "missing")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '[{"state": 1}]', '["attempt"]', '{"attempt": 1, "state": "running"}']
    + [json.dumps({**ENTRY, **changes}) for changes in ({"attempt": "x"}, {"log_start": None}, {"state": "fine"})]
    + [json.dumps({**ENTRY, "exit_code": code}) for code in ("1", [1], -99999, -(2**80), -1.5, True)]
    + [json.dumps({**ENTRY, "log_start": start}) for start in (-5, 2**70, 1.5)]
    + [json.dumps({**ENTRY, "message": 5}), "[" * 200_000],
)
def test_a_damaged_entry_is_named(executor, tmp_path, text):
    (tmp_path / ENTRY_FILE).write_text(text)
    with pytest.raises(StateError, match=r"job\.json is damaged"):
        executor.status(Job("run", ("true",), tmp_path, "a"))


@pytest.mark.parametrize("name", [ENTRY_FILE, LOG_FILE])
def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(executor, tmp_path, name):
    job = Job("run", ("true",), tmp_path, "a")
    if name == LOG_FILE:
        (tmp_path / ENTRY_FILE).write_text(json.dumps(ENTRY))
    os.mkfifo(tmp_path / name)
    with pytest.raises((StateError, JobError), match=r"not a regular file|is a pipe"):
        executor.status(job) if name == ENTRY_FILE else executor.read_log(job, 0)
    with pytest.raises((StateError, JobError), match=r"not a regular file|is a pipe"):
        executor.start(job)


def test_a_keeper_imports_nothing_from_the_folder_one_stands_in(executor, make, tmp_path, monkeypatch):
    planted = tmp_path / "planted"
    (planted / "verl_vip").mkdir(parents=True)
    (planted / "verl_vip" / "__init__.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(planted)
    job = make("print('done')")
    executor.start(job)
    assert finish(executor, job)[0].state is JobState.SUCCEEDED


def test_a_full_disk_is_named_and_a_start_on_it_refused(executor, small_disk):
    # Four megabytes at most: whatever becomes of the mount, the machine's own disk is safe.
    code = "import os; f = os.open('FILE', os.O_CREAT | os.O_WRONLY)\nfor _ in range(1024): os.write(f, bytes(4096))"
    job = Job("run", (sys.executable, "-c", code.replace("FILE", str(small_disk / "big"))), small_disk / "run", "a")
    executor.start(job)
    status, _ = finish(executor, job)
    assert status.state in (JobState.FAILED, JobState.LOST)  # whether the end could be written down or not
    assert status.message.endswith(f"the disk of {job.folder} is full")
    with pytest.raises(JobError, match="No space left on device"):
        executor.start(job)
    (small_disk / "big").unlink()
    assert executor.start(job).attempt == 2
    finish(executor, job)


@pytest.mark.parametrize("name", ["", "a/b", "../a", "-a", "a b", "a" * 151])
def test_names_that_are_no_names(name, tmp_path):
    with pytest.raises(InvalidInputError, match="cannot name a run"):
        Job(name, ("true",), tmp_path, "a")


def test_a_relative_folder_is_refused():
    with pytest.raises(InvalidInputError, match="must be an absolute path"):
        Job("a", ("true",), Path("runs"), "a")


def test_a_link_in_place_of_the_lock_starts_nothing_and_its_target_stays(executor, tmp_path):
    job = Job("run", ("true",), tmp_path / "run", "a")
    job.folder.mkdir()
    (tmp_path / "target").write_text("precious")
    (job.folder / LOCK_FILE).symlink_to(tmp_path / "target")
    for use in (executor.start, executor.stop):
        with pytest.raises((JobError, StateError), match=r"\.job\.lock must be a lock file"):
            use(job)
    assert (tmp_path / "target").read_text() == "precious"
    assert not (job.folder / ENTRY_FILE).exists()
