"""Orders to the server by those who may not give them, and orders that nobody may give."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.exceptions import PrefectHTTPStatusError
from prefect.workers.process import ProcessWorker

from verl_vip.flows import server as module

HERE = Path(__file__).parent


@pytest.fixture
def marker(made_server):
    """A file that is there once an attack has run a command."""
    file = made_server.folder / "attacked"
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def wait_for_end(client, wait_for):
    def wait(run_id):
        wait_for(lambda: client.read_flow_run(run_id).state.type in TERMINAL_STATES)

    return wait


# What a page of another origin, or another user of the machine, can send.

ELSEWHERE = "http://127.0.0.1:9"


def order(deployment, marker):
    return {"job_variables": {"command": f"touch {marker}"}, "name": str(deployment.id)}


@pytest.mark.parametrize("origin", [ELSEWHERE, "http://example.com", "null", None])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
def test_an_order_without_the_password_is_not_taken(made_server, client, deployments, marker, origin, kind):
    headers = {"Origin": origin, "Content-Type": kind}
    headers = {name: value for name, value in headers.items() if value is not None}
    deployment = deployments["train"]
    with httpx.Client(base_url=made_server.api, trust_env=False, headers=headers, timeout=100) as stranger:
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


def test_who_has_the_password_but_no_token_gives_no_orders(made_server, deployments, marker):
    user, _, secret = made_server.password.partition(":")
    path = f"/deployments/{deployments['train'].id}/create_flow_run"
    with httpx.Client(base_url=made_server.api, trust_env=False, auth=(user, secret), timeout=100) as browser:
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


@pytest.mark.heavy
def test_the_worker_ignores_a_command_that_nobody_checked(
    made_server, client, deployments, marker, wait_for, wait_for_end
):
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
    wait_for_end(run["id"])
    assert not marker.exists()
    # The flow itself was run instead, and complains of what it was given.
    wait_for(lambda: "missing a required argument" in " ".join(made_server.messages(run["id"])))


@pytest.mark.heavy
def test_pool_and_deployments_of_an_earlier_version_are_mended(made_server, client, deployments, marker, wait_for_end):
    template = ProcessWorker.get_default_base_job_template()
    client.update_work_pool(module.POOL, WorkPoolUpdate(base_job_template=template))
    old = {"command": f"touch {marker}", "env": {"PYTHONUNBUFFERED": "1"}}
    client.update_deployment(deployments["train"].id, DeploymentUpdate(job_variables=old))
    environment = {
        **os.environ,
        "PREFECT_HOME": str(made_server.folder / "home"),
        "PREFECT_API_URL": made_server.api,
        "PREFECT_API_AUTH_STRING": made_server.password,
        "VERL_VIP_RUNS": str(made_server.folder / "runs"),
    }
    module.register(environment)
    mended = client.read_deployment(deployments["train"].id)
    assert mended.job_variables == {"stream_output": True}
    assert set(client.read_work_pool(module.POOL).base_job_template["variables"]["properties"]) == {"stream_output"}
    with pytest.raises(PrefectHTTPStatusError, match="Validation failed"):
        client.create_flow_run_from_deployment(mended.id, job_variables=old)
    run = client.create_flow_run_from_deployment(mended.id, parameters={"recipe": "none"})
    wait_for_end(run.id)
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


def browse(api, marker, folder, wait_for):
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
            wait_for(lambda: elsewhere.learned)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait(30)
            elsewhere.shutdown()
    return elsewhere.learned[0]


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@needs_browser
@pytest.mark.heavy
@pytest.mark.slow
def test_a_page_from_elsewhere_orders_a_server_with_prefects_defaults_about(server, tmp_path, wait_for):
    """What the attack is worth: without this, the next test would pass with a page that does nothing."""
    learned = browse(server, tmp_path / "marker", tmp_path / "profile", wait_for)
    assert learned["ordered"] is not None
    assert learned["deployments"] >= 1
    assert learned["socket"] == "auth_success"


@needs_browser
@pytest.mark.heavy
def test_a_page_from_elsewhere_does_nothing_with_our_server(made_server, client, marker, tmp_path, wait_for):
    before = {run.id for run in client.read_flow_runs()}
    learned = browse(made_server.api, marker, tmp_path / "profile", wait_for)
    assert set(learned) >= {"ordered", "deployments", "token", "ordered with a token", "unseen", "socket"}
    assert {name: value for name, value in learned.items() if value not in (None, "opaque")} == {}
    assert {run.id for run in client.read_flow_runs()} == before
    assert not [flow for flow in client.read_flows() if flow.name.startswith("from-elsewhere")]
    assert not marker.exists()
