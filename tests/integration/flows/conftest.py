"""Prefect's server with its defaults and as `make server` has it, and a trainer that takes milliseconds a step."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

HERE = Path(__file__).parent

#: Ends a wait for what will not come. What comes may take minutes on a machine that does other work beside it.
PATIENCE_S = 300.0


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items):
    """Mark the tests with a server as heavy, and give them the time that their waits may take."""
    for item in items:
        if item.path.is_relative_to(HERE) and {"server", "made_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.heavy)
            item.add_marker(pytest.mark.timeout(4 * PATIENCE_S), append=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A real server on a database of its own; its address is in the environment for other processes too."""
    from prefect.testing.utilities import prefect_test_harness  # imports the whole server

    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        with prefect_test_harness(server_startup_timeout=int(PATIENCE_S)):
            from prefect.settings import PREFECT_API_URL

            patch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
            yield PREFECT_API_URL.value()


@pytest.fixture(scope="session")
def pretend_python(tmp_path_factory) -> str:
    """An interpreter whose verl, and whose evaluation, is the pretended one."""
    script = tmp_path_factory.mktemp("python") / "python"
    script.write_text(
        f"""#!/bin/sh
        case "$*" in
        *verl_vip.workers.settings.preflight*) echo '{{"unchecked": "its verl is a pretended one"}}'; exit;;
        *verl_vip.cli*) what=evaluate;;
        *) what=trainer;;
        esac
        exec {sys.executable} {HERE}/pretend_$what.py "$@"
        """.replace("        ", "")
    )
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def parameters(tmp_path, pretend_python) -> Callable[..., dict]:
    """Parameters of a flow that trains with the pretended verl."""

    def make(*overrides: str, **others) -> dict:
        return {
            "recipe": "demo",
            "name": "run-1",
            "root": str(tmp_path),
            "overrides": list(overrides),
            "python": pretend_python,
            **others,
        }

    return make


class FlowProcess:
    """A flow in a process of its own, to be killed."""

    def __init__(self, log: Path, flow: str, parameters: dict) -> None:
        self.log = log
        code = (
            f"import sys; from verl_vip.flows.command import run_flow; sys.exit(run_flow({flow!r}, **{parameters!r}))"
        )
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self, timeout: float = PATIENCE_S) -> int:
        return self.process.wait(timeout=timeout)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")


@pytest.fixture(scope="session")
def hold_port() -> Callable[[], "contextlib.AbstractContextManager[int]"]:
    """Makes a port where nobody listens, and that is given to nobody but who asks for it with SO_REUSEPORT."""

    @contextlib.contextmanager
    def hold() -> Iterator[int]:
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(("", 0))
            yield holder.getsockname()[1]

    return hold


@pytest.fixture
def wait_for() -> Callable[..., None]:
    def wait(condition: Callable[[], object], flow: FlowProcess | None = None, timeout: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s"
            assert flow is None or flow.process.poll() is None, flow.text
            time.sleep(0.05)

    return wait


@pytest.fixture
def has_saved() -> Callable[[Path, int], bool]:
    """Whether a run has a complete checkpoint of this step or a later one; its folder is there before it is whole."""

    def look(folder: Path, step: int) -> bool:
        tracker = folder / "latest_checkpointed_iteration.txt"
        return tracker.exists() and int(tracker.read_text()) >= step

    return look


@pytest.fixture
def start_flow(server, tmp_path):
    """Start a flow in a process of its own, against the session's server."""
    started = []

    def start(flow: str, parameters: dict) -> FlowProcess:
        started.append(FlowProcess(tmp_path / f"flow-{len(started)}.log", flow, parameters))
        return started[-1]

    yield start
    for flow in started:
        flow.kill()
        flow.wait(30)


class MadeServer:
    """What `make server` started, and what its log and its API say."""

    def __init__(self, folder: Path, port: int, log: Path) -> None:
        self.folder, self.port, self.log = folder, port, log
        self.address = f"http://127.0.0.1:{port}"
        self.api = f"{self.address}/api"

    @property
    def password(self) -> str:
        return (self.folder / "home" / f"verl-vip-{self.port}.password").read_text().strip()

    def client(self) -> SyncPrefectClient:
        return SyncPrefectClient(self.api, auth_string=self.password, httpx_settings={"trust_env": False})

    def messages(self, run_id) -> list[str]:
        """What a flow run has logged."""
        chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
        with self.client() as client:
            return [log.message for log in client.read_logs(chosen)]


def port_to_choose() -> int:
    """Return a free port that the system gives to nobody who asks for any, so that it is free a moment later too."""
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, max(first_given, 20_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


@pytest.fixture(scope="session")
def made_server(tmp_path_factory, hold_port):
    """`make server`, where a proxy that nobody runs is named for everything."""
    folder = tmp_path_factory.mktemp("server")
    made = MadeServer(folder, port_to_choose(), folder / "output.log")
    with hold_port() as nobodys:
        yield from serve(made, nobodys)


def serve(made: MadeServer, proxy_port: int) -> Iterator[MadeServer]:
    folder = made.folder
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        environment |= dict.fromkeys((name, name.upper()), f"http://127.0.0.1:{proxy_port}")
    for name in ("no_proxy", "NO_PROXY"):
        environment.pop(name, None)
    with made.log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "verl_vip.flows.server", "--port", str(made.port), "--runs", str(folder / "runs")],
            env={**environment, "PREFECT_HOME": str(folder / "home")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 2 * PATIENCE_S
        while f"{made.address}/deployments" not in made.log.read_text():
            assert process.poll() is None, made.log.read_text()
            assert time.monotonic() < deadline, made.log.read_text()
            time.sleep(0.2)
        yield made
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, made.log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@pytest.fixture
def client(made_server):
    with made_server.client() as client:
        yield client


@pytest.fixture
def deployments(client):
    return {deployment.name: deployment for deployment in client.read_deployments()}
