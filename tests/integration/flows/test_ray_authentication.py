"""A cluster that `ray start` has made, with the token authentication that it turns on where a token exists."""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from verl_vip.execution.processes import MARK, end, family, mark_of
from verl_vip.records.records import read_run

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

#: The system's choice; the port for Ray's clients cannot be.
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port")


def clean_environment(home: Path) -> dict[str, str]:
    """An environment in which nobody has said anything about authentication."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {"HOME": str(home)}


@pytest.fixture(scope="module")
def head(hold_port):
    """The head's dashboard, and the home whose token it has taken up; the mode is set nowhere."""
    with tempfile.TemporaryDirectory(prefix="vip-", dir="/tmp", ignore_cleanup_errors=True) as name:  # short: sockets
        folder = Path(name)
        (folder / ".ray").mkdir()
        (folder / ".ray" / "auth_token").write_text(secrets.token_hex(32))
        output = folder / "output"
        with output.open("wb") as file, hold_port() as client_port:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
                    *(f"--{port}=0" for port in PORTS),
                    f"--ray-client-server-port={client_port}",
                    f"--temp-dir={folder / 'ray'}",
                ],
                env=clean_environment(folder) | {MARK: mark_of(folder), "RAY_raylet_start_wait_time_s": "120"},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while not (found := re.search(r"(?s)dashboard at.*?(127\.0\.0\.1:\d+)", output.read_text())):
                assert process.poll() is None, output.read_text()
                time.sleep(0.1)
            yield f"http://{found[1]}", folder
        finally:
            assert end(lambda: family(mark_of(folder)), signal.SIGKILL, 60) == []
            process.wait(30)


CONNECT = """
import sys
from verl_vip.errors import ConfigError
from verl_vip.flows.ray_jobs import RayExecutor
try:
    print(RayExecutor(sys.argv[1]).where)
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "Authentication required: Unauthorized: Missing authentication token"),
        ({"RAY_AUTH_MODE": "disabled"}, "Authentication required: Unauthorized: Missing authentication token"),
        (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
            "Authentication failed: Forbidden: Invalid authentication token",
        ),
        (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/nowhere"},
            "RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: /nowhere",
        ),
    ],
)
def test_who_does_not_get_in_is_told_in_one_sentence_what_to_set(head, environment, why):
    address, folder = head
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, address],
        env=clean_environment(folder) | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout == (
        f"the Ray cluster at {address} uses token authentication and refused this process ({why}): "
        "set RAY_AUTH_MODE=token, and give the cluster's token in ~/.ray/auth_token, in RAY_AUTH_TOKEN, or in a file "
        "that RAY_AUTH_TOKEN_PATH names.\n"
    )


@pytest.mark.usefixtures("server")
def test_the_command_says_it_without_a_traceback(head, tmp_path):
    address, folder = head
    done = subprocess.run(
        [
            *(sys.executable, "-m", "verl_vip.cli", "train", "demo", "--name", "refused"),
            *("--root", str(tmp_path), "--cluster", address),
        ],
        env=clean_environment(folder) | {"PREFECT_HOME": str(tmp_path / "prefect")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 2
    assert "set RAY_AUTH_MODE=token" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


JOIN = """
import sys
from pathlib import Path
from verl_vip.execution import Job, follow
from verl_vip.flows.ray_jobs import RayExecutor
code = "import ray; ray.init(address='auto', log_to_driver=False); print('nodes:', len(ray.nodes()))"
job = Job("joins", (sys.executable, "-c", code), Path(sys.argv[2]), "a")
executor = RayExecutor(sys.argv[1])
executor.start(job)
print(follow(executor, job, print).state)
"""


def test_a_job_joins_the_cluster_that_runs_it(head, tmp_path):
    address, folder = head
    done = subprocess.run(
        [sys.executable, "-c", JOIN, address, str(tmp_path / "joins")],
        env=clean_environment(folder) | {"RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "succeeded", done.stdout
    assert "nodes: 1" in lines


def test_with_the_mode_set_a_run_is_trained_there(head, parameters, start_flow, tmp_path, monkeypatch):
    address, folder = head
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    flow = start_flow("train", parameters("steps=3", name="inside", cluster=address))
    assert flow.wait() == 0, flow.text
    assert [step.step for step in read_run(tmp_path / "inside").steps] == [1, 2, 3]
