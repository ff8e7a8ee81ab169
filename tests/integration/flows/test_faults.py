"""What goes wrong around a run ends in a state that a user understands, with nothing lost or doubled."""

import asyncio
import os
import signal

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from verl_vip.execution import LocalExecutor
from verl_vip.execution.files import is_locked, read_entry
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.train import train
from verl_vip.flows.training_run import TrainingRun
from verl_vip.records.records import read_run

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("server")]


def flow_states(name: str) -> list[str]:
    async def read():
        async with get_client() as client:
            runs = await client.read_flow_runs(
                flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[f"train {name}"]))
            )
            return [run.state.name for run in runs]

    return asyncio.run(read())


def starts(folder) -> list[int]:
    return [int(line) for line in (folder / "starts.txt").read_text().split()]


def test_two_flows_at_once_share_one_job(parameters, tmp_path, start_flow, wait_for):
    chosen = parameters("steps=10", "hold=5", name="shared")
    flows = [start_flow("train", chosen) for _ in range(2)]
    for flow in flows:
        wait_for(lambda flow=flow: "attempt 1 at shared" in flow.text, flow)
    (tmp_path / "shared" / "go").touch()
    assert [flow.wait() for flow in flows] == [0, 0], flows[0].text + flows[1].text
    assert starts(tmp_path / "shared") == [0]
    assert flow_states("shared") == ["Completed", "Completed"]


def test_a_terminated_flow_stops_its_job_and_the_next_goes_on(parameters, tmp_path, start_flow, wait_for, has_saved):
    chosen = parameters("steps=60", "hold=3", name="terminated")
    flow = start_flow("train", chosen)
    folder = tmp_path / "terminated"
    wait_for(lambda: has_saved(folder, 2), flow)
    flow.kill(signal.SIGTERM)
    assert flow.wait() == 128 + signal.SIGTERM
    assert not is_locked(folder)
    assert read_entry(folder).state == "stopped"
    assert flow_states("terminated") == ["Crashed"]
    assert "stopped the job of terminated" in flow.text
    train(**parameters("steps=4", name="terminated"))
    assert starts(folder) == [0, 2]


def test_a_killed_flow_leaves_its_job_to_the_next(parameters, tmp_path, start_flow, wait_for):
    chosen = parameters("steps=20", "hold=5", name="killed")
    flow = start_flow("train", chosen)
    folder = tmp_path / "killed"
    wait_for((folder / "vip_records.jsonl").exists, flow)
    flow.kill(signal.SIGKILL)
    flow.wait()
    assert is_locked(folder)
    (folder / "go").touch()
    train(**chosen)
    assert starts(folder) == [0]
    assert [step.step for step in read_run(folder).steps] == list(range(1, 21))


def test_a_job_that_somebody_stopped_is_not_started_again(parameters, tmp_path, start_flow, wait_for, has_saved):
    chosen = parameters("steps=60", "hold=3", name="stopped")
    flow = start_flow("train", chosen)
    folder = tmp_path / "stopped"
    wait_for(lambda: has_saved(folder, 2), flow)
    LocalExecutor().stop(from_parameters(TrainingRun, chosen).job())
    assert flow.wait() != 0
    assert "stopped was stopped; start it again to continue from its last checkpoint" in flow.text
    assert starts(folder) == [0]
    assert flow_states("stopped") == ["Failed"]


def test_a_killed_keeper_is_an_attempt_lost(parameters, tmp_path, start_flow, wait_for, has_saved):
    flow = start_flow("train", parameters("steps=8", "hold=3", name="orphan"))
    folder = tmp_path / "orphan"
    wait_for(lambda: has_saved(folder, 2), flow)
    os.kill(read_entry(folder).pid, signal.SIGKILL)
    (folder / "go").touch()
    assert flow.wait() == 0, flow.text
    assert read_entry(folder).attempt == 2
    assert [step.step for step in read_run(folder).steps] == list(range(1, 9))


@pytest.mark.slow
def test_a_full_disk_is_named_and_after_it_the_run_goes_on(parameters, small_disk, start_flow):
    chosen = parameters("steps=8", "seconds=0.05", "kilobytes=300", name="full", root=str(small_disk))
    folder = small_disk / "full"
    ballast = small_disk / "ballast"  # two megabytes at most: whatever becomes of the mount, the machine's disk is safe
    ballast.write_bytes(bytes(1_300_000))
    flow = start_flow("train", chosen)
    assert flow.wait() != 0
    assert f"the disk of {folder} is full" in flow.text
    assert flow_states("full") == ["Failed"]
    assert not is_locked(folder)
    ballast.unlink()
    train(**chosen)
    begun = starts(folder)
    assert begun[0] == 0
    assert begun[-1] >= 2
    assert [step.step for step in read_run(folder).steps] == list(range(1, 9))
