"""Jobs on a real Ray cluster of this machine, through its Jobs API, and flows that follow them there."""

import contextlib
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from verl_vip.errors import ConfigError, UnreachableError
from verl_vip.execution import Job, JobState, JobStatus, follow
from verl_vip.flows import ray_jobs
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.ray_jobs import RayExecutor
from verl_vip.flows.train import train
from verl_vip.flows.training_run import TrainingRun
from verl_vip.reporting.records import read_run

on_a_cluster = [pytest.mark.end_to_end, pytest.mark.timeout(280)]


@contextlib.contextmanager
def head(folder):
    """A cluster's head with its dashboard, on ports of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        arguments = {"num_cpus": 4, "include_dashboard": True, "dashboard_port": 0, "dashboard_agent_listen_port": 0}
        cluster = Cluster(initialize_head=True, head_node_args={**arguments, "temp_dir": str(folder)})
        try:
            yield cluster
        finally:
            cluster.shutdown()


def address_of(cluster) -> str:
    return f"http://{cluster.webui_url}"


@pytest.fixture(scope="module")
def ray_folder():
    """Short, since the names of sockets are."""
    with tempfile.TemporaryDirectory(prefix="vip-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster(ray_folder):
    with head(ray_folder) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def executor(cluster) -> RayExecutor:
    return RayExecutor(address_of(cluster))


@pytest.fixture
def make(tmp_path, executor):
    made = []

    def job(name: str, code: str, fingerprint: str = "a") -> Job:
        made.append(Job(name, (sys.executable, "-c", code), tmp_path / name, fingerprint, {"WHICH": "{attempt}"}))
        return made[-1]

    yield job
    for one in made:
        executor.stop(one)


def finish(executor, job) -> tuple[JobStatus, list[str]]:
    lines: list[str] = []
    return follow(executor, job, lines.append, poll_s=0.5), lines


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_unreachable_cluster_says_so_at_once():
    with pytest.raises(UnreachableError, match=r"the Ray cluster at http://127.0.0.1:\d+ does not answer; is the"):
        RayExecutor(f"http://127.0.0.1:{free_port()}")


def test_a_cluster_that_swallows_what_it_is_sent_is_unreachable(monkeypatch):
    monkeypatch.setattr(ray_jobs, "_REQUEST_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnreachableError, match="does not answer"):
        RayExecutor(f"http://127.0.0.1:{silent.getsockname()[1]}")


class TestAJob:
    pytestmark = on_a_cluster

    def test_three_starts_at_once_give_one(self, executor, make):
        job = make("life", "import os; print('attempt', os.environ['WHICH'])")
        assert executor.status(job) is None
        found = []
        threads = [threading.Thread(target=lambda: found.append(executor.start(job))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [status.attempt for status in found] == [1, 1, 1]
        status, lines = finish(executor, job)
        assert status.state is JobState.SUCCEEDED
        assert lines.count("attempt 1") == 1
        assert executor.start(job).attempt == 2
        status, lines = finish(executor, job)
        assert (status.state, status.attempt) == (JobState.SUCCEEDED, 2)
        assert "attempt 1" not in lines
        assert lines.count("attempt 2") == 1

    def test_its_exit_says_whether_it_was_killed(self, executor, make):
        failing = make("failing", "raise SystemExit(3)")
        killed = make("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        executor.start(failing)
        executor.start(killed)
        status, _ = finish(executor, failing)
        assert (status.state, status.exit_code, status.was_killed) == (JobState.FAILED, 3, False)
        assert status.message == "Job entrypoint command failed with exit code 3"
        status, _ = finish(executor, killed)
        assert (status.exit_code, status.was_killed) == (-signal.SIGKILL, True)

    def test_another_process_finds_it_and_stops_it(self, executor, make, cluster):
        job = make("long", "import os, time; print('process', os.getpid(), flush=True); time.sleep(600)")
        executor.start(job)
        other = RayExecutor(address_of(cluster))
        assert other.start(job).attempt == 1
        with pytest.raises(ConfigError, match=r"long is running already on the Ray cluster at .* with other settings"):
            other.start(make("long", "pass", fingerprint="b"))
        other.stop(job)
        assert executor.status(job).state is JobState.STOPPED
        other.stop(job)


USES_A_NODE = """
import ray
ray.init(address='auto', log_to_driver=False)

@ray.remote(resources={'worker': 1}, max_retries=0)
def work():
    import time
    open(MARK, 'w').close()
    time.sleep(600)

ray.get(work.remote())
"""


class TestFaults:
    pytestmark = on_a_cluster

    def test_a_node_that_dies_ends_the_attempt_and_the_next_runs(self, executor, make, cluster, tmp_path, wait_for):
        node = cluster.add_node(num_cpus=1, resources={"worker": 1})
        mark = tmp_path / "working"
        job = make("node", f"MARK = {str(mark)!r}\n{USES_A_NODE}")
        executor.start(job)
        wait_for(mark.exists)
        cluster.remove_node(node, allow_graceful=False)
        status, lines = finish(executor, job)
        assert status.state is JobState.FAILED
        assert any("NodeDiedError" in line or "WorkerCrashedError" in line for line in lines), lines
        again = make("node", "print('again')")
        assert executor.start(again).attempt == 2
        assert finish(executor, again)[0].state is JobState.SUCCEEDED


class Network:
    """Connections to an address that can be cut, and are refused from then on until they are joined again."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        self._target = (host, int(port))
        self._port = free_port()
        self._open: list[socket.socket] = []
        self.address = f"http://127.0.0.1:{self._port}"
        self.join()

    def join(self) -> None:
        self._door = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._let_in, args=(self._door,), daemon=True).start()

    def cut(self) -> None:
        for one in [self._door, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _let_in(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = door.accept()
                outside = socket.create_connection(self._target)
                self._open += [inside, outside]
                for pair in ((inside, outside), (outside, inside)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def network(cluster):
    network = Network(address_of(cluster))
    yield network
    network.cut()


@pytest.mark.usefixtures("server")
class TestFlows:
    pytestmark = on_a_cluster

    def test_a_break_of_the_network_and_a_killed_flow_leave_one_whole_run(
        self, parameters, network, start_flow, tmp_path, wait_for
    ):
        chosen = parameters("steps=40", "seconds=0.4", name="broken", cluster=network.address)
        folder = tmp_path / "broken"
        first = start_flow("train", chosen)
        wait_for(lambda: "step:2 - done" in first.text, first)
        first.kill(signal.SIGKILL)
        first.wait()
        second = start_flow("train", chosen)
        wait_for(lambda: "found attempt 1" in second.text, second)
        wait_for(lambda: "step:2 - done" in second.text, second)
        network.cut()
        reached = len(read_run(folder).steps)
        wait_for(lambda: len(read_run(folder).steps) >= reached + 6, second)  # the job does not notice
        network.join()
        assert second.wait() == 0, second.text
        assert [step.step for step in read_run(folder).steps] == list(range(1, 41))
        assert (folder / "starts.txt").read_text().split() == ["0"]
        for step in range(1, 41):
            assert second.text.count(f"step:{step} - done\n") == 1

    def test_a_terminated_flow_stops_its_job(self, parameters, cluster, executor, start_flow, tmp_path, wait_for):
        chosen = parameters("steps=500", "seconds=0.2", name="ended", cluster=address_of(cluster))
        flow = start_flow("train", chosen)
        wait_for((tmp_path / "ended" / "global_step_2").exists, flow)
        flow.kill(signal.SIGTERM)
        assert flow.wait() == 128 + signal.SIGTERM
        assert executor.status(from_parameters(TrainingRun, chosen).job()).state is JobState.STOPPED

    def test_a_killed_job_is_retried_from_its_last_checkpoint(self, parameters, cluster, tmp_path):
        train(**parameters("steps=5", "kill_once=4", name="lost", cluster=address_of(cluster)))
        assert (tmp_path / "lost" / "starts.txt").read_text().split() == ["0", "2"]
        assert [step.step for step in read_run(tmp_path / "lost").steps] == [1, 2, 3, 4, 5]


@pytest.mark.end_to_end
@pytest.mark.timeout(280)
def test_a_head_that_dies_takes_the_job_along_and_a_new_cluster_goes_on(parameters, ray_folder, tmp_path, wait_for):
    chosen = parameters("steps=12", "seconds=0.3", name="headless")
    folder = tmp_path / "headless"
    with head(ray_folder) as first:
        job = from_parameters(TrainingRun, {**chosen, "cluster": address_of(first)}).job()
        executor = RayExecutor(address_of(first))
        executor.start(job)
        wait_for((folder / "global_step_2").exists)
        first.remove_node(first.head_node, allow_graceful=False)
        with pytest.raises(UnreachableError, match="headless may still be running"):
            follow(executor, job, print, poll_s=0.2, patience_s=2)
        wait_for(lambda: not processes_in(folder))  # Ray ends the job when its supervisor has gone
    with head(ray_folder) as second:
        train(**chosen, cluster=address_of(second))
    starts = [int(step) for step in (folder / "starts.txt").read_text().split()]
    assert starts[0] == 0
    assert 2 <= starts[1] < 12
    assert [step.step for step in read_run(folder).steps] == list(range(1, 13))


def processes_in(folder) -> list[int]:
    """Return the processes with this folder in their command line."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if (text := read_bytes(path)) and str(folder).encode() in text
    ]


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it has just ended
