"""`make server`, and the cancel button."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Cancelling

from verl_vip.execution.files import is_locked, read_entry
from verl_vip.flows import server as module

DEPLOYMENTS = yaml.safe_load((Path(module.__file__).parent / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_every_deployment_has_a_flow_that_takes_its_parameters(deployment):
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    flow.validate_parameters({**deployment["parameters"], "root": "/runs"})


@pytest.fixture
def running(tmp_path):
    """The server with its deployments and its worker, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "server.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "verl_vip.flows.server", "--port", str(port), "--runs", str(tmp_path / "runs")],
            env={**environment, "PREFECT_HOME": str(tmp_path / "home")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield process, log, f"http://127.0.0.1:{port}"
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.mark.end_to_end
@pytest.mark.timeout(400)
def test_deployments_show_run_and_are_cancelled(running, pretend_python, tmp_path, wait_for):
    process, log, address = running
    wait_for(lambda: f"{address}/deployments" in log.read_text() or process.poll() is not None, timeout=250)
    assert process.poll() is None, log.read_text()
    with SyncPrefectClient(f"{address}/api") as client:
        named = {deployment.name: deployment for deployment in client.read_deployments()}
        assert set(named) == {"train", "evaluate", "sweep", "pipeline"}
        assert [schedule.schedule.cron for schedule in named["evaluate"].schedules] == ["0 6 * * *"]
        folder = tmp_path / "runs" / "cancelled"
        parameters = {"name": "cancelled", "overrides": ["steps=500", "seconds=0.2"], "python": pretend_python}
        run = client.create_flow_run_from_deployment(named["train"].id, parameters=parameters)
        wait_for((folder / "global_step_2").exists, timeout=100)
        client.set_flow_run_state(run.id, Cancelling(), force=True)  # what the button does
        wait_for(lambda: client.read_flow_run(run.id).state.name == "Cancelled", timeout=60)
    assert not is_locked(folder)
    assert read_entry(folder).state == "stopped"
    process.terminate()
    assert process.wait(60) == 0
