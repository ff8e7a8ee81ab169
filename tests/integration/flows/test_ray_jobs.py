"""Jobs on a real Ray cluster of this machine, through its Jobs API, and flows that follow them there."""

import contextlib
import http.server
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from fixtures.ray_cluster import own_cluster
from hypothesis import given
from hypothesis import strategies as st
from ray.job_submission import JobDetails, JobSubmissionClient

from verl_vip.errors import ConfigError, UnreachableError
from verl_vip.execution import Job, JobState, JobStatus, follow
from verl_vip.flows import ray_jobs
from verl_vip.flows.evaluation_run import EvaluationRun
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.ray_jobs import RayExecutor
from verl_vip.flows.sweep_space import Design, Trial
from verl_vip.flows.train import train
from verl_vip.flows.training_run import TrainingRun
from verl_vip.records.records import read_run

on_a_cluster = [pytest.mark.heavy, pytest.mark.timeout(900)]


@contextlib.contextmanager
def head():
    """A cluster's head with its dashboard, on ports of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        with own_cluster(
            num_cpus=4, include_dashboard=True, dashboard_port=0, dashboard_agent_listen_port=0
        ) as cluster:
            yield cluster


def address_of(cluster) -> str:
    return f"http://{cluster.webui_url}"


@pytest.fixture(scope="module")
def cluster():
    with head() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def executor(cluster) -> RayExecutor:
    return RayExecutor(address_of(cluster))


@pytest.fixture
def make(tmp_path, executor):
    made = []

    def job(name: str, code: str, fingerprint: str = "a", place: str = "runs") -> Job:
        folder = tmp_path / place / name
        made.append(Job(name, (sys.executable, "-c", code), folder, fingerprint, {"WHICH": "{attempt}"}))
        return made[-1]

    yield job
    for one in made:
        executor.stop(one)


def finish(executor, job) -> tuple[JobStatus, list[str]]:
    lines: list[str] = []
    return follow(executor, job, lines.append, poll_s=0.5), lines


def test_an_unreachable_cluster_says_so_at_once(hold_port):
    with (
        hold_port() as port,
        pytest.raises(
            UnreachableError, match=rf"the Ray cluster at http://127.0.0.1:{port} does not answer; check that"
        ),
    ):
        RayExecutor(f"http://127.0.0.1:{port}")


def test_a_cluster_that_swallows_what_it_is_sent_is_unreachable(monkeypatch):
    monkeypatch.setattr(ray_jobs, "_REQUEST_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnreachableError, match="does not answer"):
        RayExecutor(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("answer", [b"{}", b"[]", b'{"ray_version": "x"}', b"<html>", b'{"ray_version": "1.0"}'])
def test_who_answers_but_is_no_cluster(answer):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UnreachableError, match=r"no Ray Jobs API answers at http|does not answer"):
            RayExecutor(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


@pytest.mark.parametrize(
    "address",
    ["", "auto", "local", "head", "head:8265", "ray://head:10001", "http://", "http://head:x", "http://[", "/a"],
)
def test_what_is_no_dashboards_address(address):
    with pytest.raises(ConfigError, match=r"by its dashboard's address, such as http://head:8265; got "):
        RayExecutor(address)


def details_of(job: Job, submission_id: str, **changes: str) -> JobDetails:
    metadata = {"fingerprint": job.fingerprint, "name": job.name, "folder": str(job.folder), **changes}
    return JobDetails(
        type="SUBMISSION", status="RUNNING", entrypoint="true", submission_id=submission_id, metadata=metadata
    )


NAMES = st.from_regex(r"[a-c][-.0-9a-f]{0,14}", fullmatch=True)
PLACES = st.from_regex(r"/runs/[ab]?/[-0-9a-f]{1,12}", fullmatch=True)


@given(st.tuples(NAMES, PLACES), st.tuples(NAMES, PLACES), st.integers(1, 10**6))
def test_a_submission_belongs_to_one_name_in_one_place(one, other, attempt):
    job, another = (Job(name, ("true",), Path(folder), "a") for name, folder in (one, other))
    same = one[0] == other[0] and os.path.realpath(one[1]) == os.path.realpath(other[1])
    for identity in (ray_jobs._submission_id(job, attempt), f"vip-{job.name}-{attempt}"):  # of now, and of earlier
        found = details_of(job, identity)
        assert ray_jobs._attempt(job, found) == attempt
        assert ray_jobs._attempt(another, found) == (attempt if same else 0)
    assert (ray_jobs._submission_id(job, attempt) == ray_jobs._submission_id(another, attempt)) == same


def test_what_somebody_else_has_submitted_is_no_attempt():
    job = Job("a", ("true",), Path("/runs/a"), "f")
    own = ray_jobs._submission_id(job, 1)
    for identity in ("raysubmit_1", "vip-a", "vip-a-x", f"{own}x", f"x{own}", "vip-a-", "", None):
        assert ray_jobs._attempt(job, details_of(job, identity)) == 0
    assert ray_jobs._attempt(job, details_of(job, own, name="b")) == 0
    assert ray_jobs._attempt(job, JobDetails(type="DRIVER", status="RUNNING", entrypoint="x", metadata=None)) == 0


def test_a_link_leads_to_the_same_place(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    ids = {
        ray_jobs._submission_id(Job("a", ("true",), tmp_path / where, "f"), 1)
        for where in ("real/a", "link/a", "real/../link/b/../a")
    }
    assert len(ids) == 1


def test_evaluations_and_trials_of_one_name_in_two_roots_are_different_jobs():
    def ids(root: str) -> set[str]:
        training = TrainingRun(recipe="demo", name="run", root=root)
        evaluation = EvaluationRun(name="run", root=root, benchmarks=["offline"])
        trial = Trial(Design("vip", 8), 1).run(training)
        return {ray_jobs._submission_id(job, 1) for job in (training.job(), evaluation.job(2), trial.job())}

    assert len(ids("/mine") | ids("/theirs")) == 6


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
        with pytest.raises(ConfigError, match=r"long is already running on the Ray cluster at .* with other settings"):
            other.start(make("long", "pass", fingerprint="b"))
        other.stop(job)
        assert executor.status(job).state is JobState.STOPPED
        other.stop(job)

    def test_one_name_in_two_places_is_two_jobs(self, executor, make, cluster):
        mine, theirs = make("same", FOREVER, place="mine"), make("same", FOREVER, fingerprint="b", place="theirs")
        assert executor.start(mine).attempt == 1
        assert executor.status(theirs) is None
        executor.stop(theirs)  # nothing of theirs is there, and mine is not theirs
        assert executor.start(theirs).attempt == 1
        other = RayExecutor(address_of(cluster))  # what each finds again
        assert [other.status(job).fingerprint for job in (mine, theirs)] == ["a", "b"]
        other.stop(theirs)
        assert other.status(theirs).state is JobState.STOPPED
        assert other.status(mine).state.is_live
        assert other.start(mine).attempt == 1

    def test_a_submission_of_an_earlier_release_is_found_and_stopped(self, executor, make, cluster):
        job, elsewhere = make("earlier", FOREVER), make("earlier", FOREVER, place="elsewhere")
        JobSubmissionClient(address_of(cluster)).submit_job(
            entrypoint="sleep 600",
            submission_id="vip-earlier-4",
            metadata={"fingerprint": "a", "name": job.name, "folder": str(job.folder)},
        )
        assert executor.status(elsewhere) is None
        assert executor.start(job).attempt == 4
        executor.stop(job)
        assert executor.status(job).state is JobState.STOPPED
        assert executor.start(job).attempt == 5
        assert executor.start(job).attempt == 5

    def test_a_dashboard_of_this_machine_is_reached_without_the_proxy(self, cluster, make, monkeypatch, hold_port):
        job = make("direct", "print('done')")
        with hold_port() as port:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
            for name in ("no_proxy", "NO_PROXY"):
                monkeypatch.delenv(name, raising=False)
            executor = RayExecutor(address_of(cluster))
            executor.start(job)
            assert finish(executor, job)[0].state is JobState.SUCCEEDED


FOREVER = "import time; time.sleep(600)"

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


@pytest.mark.slow
class TestFaults:
    pytestmark = on_a_cluster

    def test_a_node_that_dies_ends_the_attempt_and_the_next_runs(self, executor, make, cluster, tmp_path, wait_for):
        node = cluster.add_node(num_cpus=1, resources={"worker": 1})
        mark = tmp_path / "working"
        job = make("node", f"MARK = {str(mark)!r}\n{USES_A_NODE}")
        executor.start(job)
        wait_for(lambda: mark.exists() or not executor.status(job).state.is_live)
        assert mark.exists(), "\n".join(executor.read_log(job, 0)[0][-20:])
        cluster.remove_node(node, allow_graceful=False)
        status, lines = finish(executor, job)
        assert status.state is JobState.FAILED
        assert any("NodeDiedError" in line or "WorkerCrashedError" in line for line in lines), lines
        again = make("node", "print('again')")
        assert executor.start(again).attempt == 2
        assert finish(executor, again)[0].state is JobState.SUCCEEDED


class Network:
    """Connections to an address that can be cut, and are refused from then on until they are joined again."""

    def __init__(self, address: str, port: int) -> None:
        host, _, target = address.removeprefix("http://").rpartition(":")
        self._target = (host, int(target))
        self._port = port
        self._open: list[socket.socket] = []
        self.address = f"http://127.0.0.1:{self._port}"
        self.join()

    def join(self) -> None:
        self._door = socket.create_server(("127.0.0.1", self._port), reuse_port=True)
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
def network(cluster, hold_port):
    with hold_port() as port:
        network = Network(address_of(cluster), port)
        yield network
        network.cut()


@pytest.mark.usefixtures("server")
@pytest.mark.slow
class TestFlows:
    pytestmark = on_a_cluster

    def test_a_break_of_the_network_and_a_killed_flow_leave_one_whole_run(
        self, parameters, network, start_flow, tmp_path, wait_for
    ):
        chosen = parameters("steps=40", "hold=10", name="broken", cluster=network.address)
        folder = tmp_path / "broken"
        first = start_flow("train", chosen)
        wait_for(lambda: "step:2 - done" in first.text, first)
        first.kill(signal.SIGKILL)
        first.wait()
        second = start_flow("train", chosen)
        wait_for(lambda: "found attempt 1" in second.text, second)
        wait_for(lambda: "step:2 - done" in second.text, second)
        network.cut()
        (folder / "go").touch()
        wait_for(lambda: len(read_run(folder).steps) == 40, second)  # the job does not notice
        network.join()
        assert second.wait() == 0, second.text
        assert [step.step for step in read_run(folder).steps] == list(range(1, 41))
        assert (folder / "starts.txt").read_text().split() == ["0"]
        for step in range(1, 41):
            assert second.text.count(f"step:{step} - done\n") == 1

    def test_a_terminated_flow_stops_its_job(self, parameters, cluster, executor, start_flow, wait_for):
        chosen = parameters("steps=60", "hold=3", name="ended", cluster=address_of(cluster))
        flow = start_flow("train", chosen)
        wait_for(lambda: "step:2 - done" in flow.text, flow)
        flow.kill(signal.SIGTERM)
        assert flow.wait() == 128 + signal.SIGTERM
        assert executor.status(from_parameters(TrainingRun, chosen).job()).state is JobState.STOPPED

    def test_one_name_in_two_roots_is_two_runs(self, parameters, cluster, tmp_path, start_flow, wait_for):
        roots = [tmp_path / "mine", tmp_path / "theirs"]
        chosen = [
            parameters("steps=4", "hold=3", name="twin", root=str(root), cluster=address_of(cluster)) for root in roots
        ]
        flows = [start_flow("train", one) for one in chosen]
        for flow in flows:
            wait_for(lambda flow=flow: "started attempt 1 at twin" in flow.text, flow)
            wait_for(lambda flow=flow: "step:2 - done" in flow.text, flow)
        flows[1].kill(signal.SIGTERM)
        flows[1].wait()
        (roots[0] / "twin" / "go").touch()
        assert flows[0].wait() == 0, flows[0].text
        assert [step.step for step in read_run(roots[0] / "twin").steps] == [1, 2, 3, 4]
        assert [step.step for step in read_run(roots[1] / "twin").steps] == [1, 2]
        assert [(root / "twin" / "complete.json").exists() for root in roots] == [True, False]

    def test_a_killed_job_is_retried_from_its_last_checkpoint(self, parameters, cluster, tmp_path):
        train(**parameters("steps=5", "kill_once=4", name="lost", cluster=address_of(cluster)))
        assert (tmp_path / "lost" / "starts.txt").read_text().split() == ["0", "2"]
        assert [step.step for step in read_run(tmp_path / "lost").steps] == [1, 2, 3, 4, 5]


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_head_that_dies_takes_the_job_along_and_a_new_cluster_goes_on(parameters, tmp_path, wait_for, has_saved):
    chosen = parameters("steps=12", "hold=3", name="headless")
    folder = tmp_path / "headless"
    with head() as first:
        job = from_parameters(TrainingRun, {**chosen, "cluster": address_of(first)}).job()
        executor = RayExecutor(address_of(first))
        executor.start(job)
        wait_for(lambda: has_saved(folder, 2))
        first.remove_node(first.head_node, allow_graceful=False)
        with pytest.raises(UnreachableError, match="headless may still be running"):
            follow(executor, job, print, poll_s=0.2, patience_s=2)
        wait_for(lambda: not processes_in(folder))  # Ray ends the job when its supervisor has gone
    (folder / "go").touch()
    with head() as second:
        train(**chosen, cluster=address_of(second))
    assert (folder / "starts.txt").read_text().split() == ["0", "2"]
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
