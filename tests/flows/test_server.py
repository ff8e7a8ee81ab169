"""`make server`: what it runs, and who can command it."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.states import Cancelling
from prefect.workers.process import ProcessWorker

from verl_vip.errors import ConfigError
from verl_vip.execution.files import is_locked, read_entry
from verl_vip.flows import access
from verl_vip.flows import server as module

pytestmark = pytest.mark.timeout(400)

HERE = Path(__file__).parent
DEPLOYMENTS = yaml.safe_load((Path(module.__file__).parent / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_every_deployment_has_a_flow_that_takes_its_parameters(deployment):
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    flow.validate_parameters({**deployment["parameters"], "root": "/runs"})


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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, timeout):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """The server with its deployments and its worker, where a proxy that answers nothing is named for everything."""
    folder = tmp_path_factory.mktemp("server")
    port, log = free_port(), folder / "output.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        environment |= dict.fromkeys((name, name.upper()), f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        environment.pop(name, None)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "verl_vip.flows.server", "--port", str(port), "--runs", str(folder / "runs")],
            env={**environment, "PREFECT_HOME": str(folder / "home")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: f"{address}/deployments" in log.read_text() or process.poll() is not None, 250)
        assert process.poll() is None, log.read_text()
        with temporary_settings({PREFECT_HOME: folder / "home"}):
            password = access.read_password(access.password_file(port))
        yield SimpleNamespace(
            folder=folder, port=port, address=address, api=f"{address}/api", log=log, password=password
        )
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@pytest.fixture
def client(running):
    with SyncPrefectClient(running.api, auth_string=running.password, httpx_settings={"trust_env": False}) as client:
        yield client


@pytest.fixture
def deployments(client):
    return {deployment.name: deployment for deployment in client.read_deployments()}


@pytest.fixture
def marker(running):
    """A file that is there once an attack has run a command."""
    file = running.folder / "attacked"
    yield file
    file.unlink(missing_ok=True)


@pytest.mark.end_to_end
def test_deployments_show_run_and_are_cancelled(running, client, deployments, pretend_python):
    assert set(deployments) == {"train", "evaluate", "sweep", "pipeline"}
    assert [schedule.schedule.cron for schedule in deployments["evaluate"].schedules] == ["0 6 * * *"]
    folder = running.folder / "runs" / "cancelled"
    parameters = {"name": "cancelled", "overrides": ["steps=500", "seconds=0.2"], "python": pretend_python}
    run = client.create_flow_run_from_deployment(deployments["train"].id, parameters=parameters)
    wait_until((folder / "global_step_2").exists, 100)
    client.set_flow_run_state(run.id, Cancelling(), force=True)  # what the button does
    wait_until(lambda: client.read_flow_run(run.id).state.name == "Cancelled", 60)
    assert not is_locked(folder)
    assert read_entry(folder).state == "stopped"


@pytest.mark.end_to_end
def test_our_own_commands_find_the_password(running, client, pretend_python):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    code = (
        "import sys; from verl_vip.flows.command import run_flow; "
        "sys.exit(run_flow('train', recipe='demo', name='commanded', root=sys.argv[1], python=sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(running.folder / "runs"), pretend_python],
        env={**environment, "PREFECT_API_URL": running.api, "PREFECT_HOME": str(running.folder / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = [run for run in client.read_flow_runs() if run.parameters.get("name") == "commanded"]
    assert run.state.is_completed()
    # Prefect sends its logs from a thread of its own.
    wait_until(lambda: any("commanded" in line for line in messages(client, run)), 20)


def final_state(client, run_id):
    def look():
        state = client.read_flow_run(run_id).state
        return state if state.is_final() else None

    wait_until(look, 90)
    return look()


def messages(client, run):
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    body = {"logs": chosen.model_dump(mode="json"), "limit": 200}
    return [log["message"] for log in client._client.post("/logs/filter", json=body).json()]


def test_it_listens_on_this_machine_alone(running):
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, timeout=20, check=True).stdout
    places = [line.split()[3] for line in listening.splitlines()]
    assert [place for place in places if place.endswith(f":{running.port}")] == [f"127.0.0.1:{running.port}"]


def test_the_password_stands_in_no_file_but_its_own(running):
    secret = running.password.partition(":")[2].encode()
    files = [path for path in running.folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    holders = [path for path in files if secret in path.read_bytes()]
    assert [path.name for path in holders] == [f"verl-vip-{running.port}.password"]
    assert "is not shown here; it is kept in" in running.log.read_text()


# What a page of another origin, or another user of the machine, can send.

ELSEWHERE = "http://127.0.0.1:9"


def order(deployment, marker):
    return {"job_variables": {"command": f"touch {marker}"}, "name": str(deployment.id)}


@pytest.mark.parametrize("origin", [ELSEWHERE, "http://example.com", "null", None])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
def test_an_order_without_the_password_is_not_taken(running, client, deployments, marker, origin, kind):
    headers = {"Origin": origin, "Content-Type": kind}
    headers = {name: value for name, value in headers.items() if value is not None}
    deployment = deployments["train"]
    with httpx.Client(base_url=running.api, trust_env=False, headers=headers) as stranger:
        path = f"/deployments/{deployment.id}/create_flow_run"
        content = json.dumps(order(deployment, marker))
        assert stranger.post(path, content=content).status_code == 403
        token = stranger.get("/csrf-token", params={"client": "elsewhere"})
        assert token.status_code == 401
        guessed = {"Prefect-Csrf-Token": "guessed", "Prefect-Csrf-Client": "elsewhere"}
        assert stranger.post(path, content=content, headers=guessed).status_code in (401, 403)
        assert stranger.post("/deployments/filter", content="{}", headers=guessed).status_code in (401, 403)
        assert stranger.get("/admin/settings").status_code == 401
        leave = stranger.options(path, headers={"Access-Control-Request-Method": "POST"})
        assert "access-control-allow-origin" not in leave.headers
        assert "access-control-allow-origin" not in token.headers
    assert not [run for run in client.read_flow_runs() if run.name == str(deployment.id)]
    assert not marker.exists()


def test_who_has_the_password_but_no_token_gives_no_orders(running, deployments, marker):
    user, _, secret = running.password.partition(":")
    path = f"/deployments/{deployments['train'].id}/create_flow_run"
    with httpx.Client(base_url=running.api, trust_env=False, auth=(user, secret)) as browser:
        assert browser.post(path, json=order(deployments["train"], marker)).status_code == 403


# What a deployment can be told by those who may run it.

VARIABLES = [
    {"command": "touch MARKER"},
    {"command": None},
    {"env": {"PYTHONPATH": "/elsewhere"}},
    {"env": {"PYTHONSTARTUP": "/elsewhere.py", "LD_PRELOAD": "/elsewhere.so"}},
    {"env.PYTHONPATH": "/elsewhere"},
    {"working_dir": "/elsewhere"},
    {"name": "{{ ctx.flow_run.id }}"},
    {"labels": {}},
    {"stream_output": "{{ command }}"},
    {"stream_output": True, "Command": "touch MARKER"},
]


@pytest.mark.parametrize("variables", VARIABLES, ids=json.dumps)
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_deployment_refuses_variables_that_change_what_is_run(client, deployments, variables, name):
    with pytest.raises(PrefectHTTPStatusError, match="Validation failed"):
        client.create_flow_run_from_deployment(deployments[name].id, job_variables=variables)


@pytest.mark.end_to_end
def test_the_worker_ignores_a_command_that_nobody_checked(running, client, deployments, marker):
    """Prefect checks the variables of a deployment's runs, but not of runs that go to the pool directly."""
    variables = {"command": f"touch {marker}", "env": {"PATH": "/elsewhere"}, "working_dir": "/"}
    body = {
        "flow_id": str(deployments["train"].flow_id),
        "deployment_id": str(deployments["train"].id),
        "work_pool_name": module.POOL,
        "job_variables": variables,
        "parameters": {"recipe": "none"},
        "state": {"type": "SCHEDULED"},
    }
    run = client._client.post("/flow_runs/", json=body).json()
    final_state(client, run["id"])
    assert not marker.exists()
    said = " ".join(messages(client, client.read_flow_run(run["id"])))
    assert "none" in said or "recipe" in said or "root" in said, said  # the flow itself, and its own complaint


@pytest.mark.end_to_end
def test_pool_and_deployments_of_an_earlier_version_are_mended(running, client, deployments, marker):
    template = ProcessWorker.get_default_base_job_template()
    client.update_work_pool(module.POOL, WorkPoolUpdate(base_job_template=template))
    old = {"command": f"touch {marker}", "env": {"PYTHONUNBUFFERED": "1"}}
    client.update_deployment(deployments["train"].id, DeploymentUpdate(job_variables=old))
    environment = {
        **os.environ,
        "PREFECT_HOME": str(running.folder / "home"),
        "PREFECT_API_URL": running.api,
        "PREFECT_API_AUTH_STRING": running.password,
        "VERL_VIP_RUNS": str(running.folder / "runs"),
    }
    module.register(environment)
    mended = client.read_deployment(deployments["train"].id)
    assert mended.job_variables == {"stream_output": True}
    assert set(client.read_work_pool(module.POOL).base_job_template["variables"]["properties"]) == {"stream_output"}
    with pytest.raises(PrefectHTTPStatusError, match="Validation failed"):
        client.create_flow_run_from_deployment(mended.id, job_variables=old)
    run = client.create_flow_run_from_deployment(mended.id, parameters={"recipe": "none"})
    final_state(client, run.id)
    assert not marker.exists()


# The same attack with a browser.

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.page.encode())

    def do_POST(self):
        self.server.learned.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def browse(api, marker, folder):
    """Return what a page that another port of this machine serves can do with a server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as elsewhere:
        text = (HERE / "attack.html").read_text()
        elsewhere.page, elsewhere.learned = text.replace("API", api).replace("MARKER", str(marker)), []
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--no-proxy-server", f"--user-data-dir={folder}", "--remote-debugging-port=0"),
                f"http://127.0.0.1:{elsewhere.server_address[1]}/",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: elsewhere.learned, 90)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait(30)
            elsewhere.shutdown()
    return elsewhere.learned[0]


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@needs_browser
@pytest.mark.end_to_end
def test_a_page_from_elsewhere_orders_a_server_with_prefects_defaults_about(server, tmp_path):
    """What the attack is worth: without this, the next test would pass with a page that does nothing."""
    learned = browse(server, tmp_path / "marker", tmp_path / "profile")
    assert learned["ordered"] is not None
    assert learned["deployments"] >= 1
    assert learned["socket"] == "auth_success"


@needs_browser
@pytest.mark.end_to_end
def test_a_page_from_elsewhere_does_nothing_with_our_server(running, client, marker, tmp_path):
    before = {run.id for run in client.read_flow_runs()}
    learned = browse(running.api, marker, tmp_path / "profile")
    assert set(learned) >= {"ordered", "deployments", "token", "ordered with a token", "unseen", "socket"}
    assert {name: value for name, value in learned.items() if value not in (None, "opaque")} == {}
    assert {run.id for run in client.read_flow_runs()} == before
    assert not [flow for flow in client.read_flows() if flow.name.startswith("from-elsewhere")]
    assert not marker.exists()
