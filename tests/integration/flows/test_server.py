"""`make server`: what it runs, and who can command it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.states import Cancelling

from verl_vip.errors import ConfigError
from verl_vip.execution.files import is_locked, read_entry
from verl_vip.flows import access
from verl_vip.flows import server as module

DEPLOYMENTS = yaml.safe_load((Path(module.__file__).parent / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_every_deployment_has_a_flow_that_takes_its_parameters(deployment):
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    flow.validate_parameters({**deployment["parameters"], "root": "/runs"})
    declared = flow.parameters.properties
    repeated = [name for name, value in deployment["parameters"].items() if value == declared[name].get("default")]
    assert repeated == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_somebody_else_has_is_not_given_our_password(host):
    with socket.socket() as stranger:
        stranger.bind((host, 0))
        stranger.listen()
        with pytest.raises(ConfigError, match=r"cannot be used .*; give another: ARGS='--port N'"):
            module.require_free(stranger.getsockname()[1])


@pytest.mark.parametrize("port", [0, -1, 65536, 10**9])
def test_a_number_that_is_no_port_is_refused(port):
    with pytest.raises(ConfigError, match="from 1 to 65535"):
        module.require_free(port)


@pytest.mark.heavy
def test_deployments_show_run_and_are_cancelled(made_server, client, deployments, pretend_python, wait_for):
    assert set(deployments) == {"train", "evaluate", "sweep", "pipeline"}
    assert [schedule.schedule.cron for schedule in deployments["evaluate"].schedules] == ["0 6 * * *"]
    folder = made_server.folder / "runs" / "cancelled"
    parameters = {"name": "cancelled", "overrides": ["steps=4", "hold=3"], "python": pretend_python}
    run = client.create_flow_run_from_deployment(deployments["train"].id, parameters=parameters)
    wait_for((folder / "global_step_2").exists)
    client.set_flow_run_state(run.id, Cancelling(), force=True)  # what the button does
    wait_for(lambda: client.read_flow_run(run.id).state.name == "Cancelled")
    assert not is_locked(folder)
    assert read_entry(folder).state == "stopped"


@pytest.mark.heavy
def test_our_own_commands_find_the_password(made_server, client, pretend_python, wait_for):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    code = (
        "import sys; from verl_vip.flows.command import run_flow; "
        "sys.exit(run_flow('train', recipe='demo', name='commanded', root=sys.argv[1], python=sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(made_server.folder / "runs"), pretend_python],
        env={**environment, "PREFECT_API_URL": made_server.api, "PREFECT_HOME": str(made_server.folder / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = [run for run in client.read_flow_runs() if run.parameters.get("name") == "commanded"]
    assert run.state.is_completed()
    # Prefect sends its logs from a thread of its own.
    wait_for(lambda: any("commanded" in line for line in made_server.messages(run.id)))


def test_it_listens_on_this_machine_alone(made_server):
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, timeout=20, check=True).stdout
    places = [line.split()[3] for line in listening.splitlines()]
    assert [place for place in places if place.endswith(f":{made_server.port}")] == [f"127.0.0.1:{made_server.port}"]


def test_the_password_stands_in_no_file_but_its_own(made_server):
    secret = made_server.password.partition(":")[2].encode()
    files = [path for path in made_server.folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    holders = [path for path in files if secret in path.read_bytes()]
    assert [path.name for path in holders] == [f"verl-vip-{made_server.port}.password"]
    assert "is not shown here; it is stored in" in made_server.log.read_text()


def test_the_password_is_shown_once_and_on_a_terminal_alone(tmp_path, monkeypatch, capsys):
    controller, terminal = os.openpty()
    with temporary_settings({PREFECT_HOME: tmp_path}), open(terminal, "w") as stream:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            first = module.password_of(4200)
            assert first in os.read(controller, 10_000).decode()
            assert module.password_of(4200) == first
            again = os.read(controller, 10_000).decode()
        elsewhere = module.password_of(4300)
        assert elsewhere not in capsys.readouterr().out
        assert access.read_password(access.password_file(4300)) == elsewhere
    assert first not in again
    assert str(tmp_path / "verl-vip-4200.password") in again
    os.close(controller)
