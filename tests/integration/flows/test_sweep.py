"""Each trial once, whatever happens to the sweep."""

import contextlib
import json
import threading
import time
from types import SimpleNamespace

import pytest
from prefect.artifacts import Artifact

from verl_vip.errors import ConfigError, JobError, StateError
from verl_vip.execution.files import is_locked, read_entry
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.supervision import supervise
from verl_vip.flows.sweep import STATE_FILE, SweepState, _Drive, sweep
from verl_vip.flows.sweep_space import Design, SweepPlan, Trial
from verl_vip.flows.training_run import TrainingRun

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def settings(parameters):
    def make(name: str, *overrides: str, **others) -> dict:
        chosen = {"strategies": ["uniform", "vip"], "budgets": [1, 2], "seeds": 2, "concurrency": 4}
        return {**parameters("steps=2", "seconds=0.01", *overrides, name=name), **chosen, **others}

    return make


def starts(folder) -> dict[str, int]:
    return {path.parent.name[:-11]: len(path.read_text().split()) for path in folder.glob("trials/*/starts.txt")}


def test_a_grid_ends_with_a_table_and_goes_on_from_there(settings, tmp_path):
    report = sweep(**settings("grid", seeds=1, strategies=["vip"], budgets=[1]))
    assert starts(tmp_path / "grid") == {"vip-n1-seed1": 1}
    assert report == str(tmp_path / "grid" / "report.html")
    sweep(**settings("grid", seeds=3, strategies=["vip"], budgets=[1]))  # two more seeds
    assert starts(tmp_path / "grid") == {f"vip-n1-seed{seed}": 1 for seed in (1, 2, 3)}
    lines = (tmp_path / "grid" / "pareto.md").read_text().splitlines()
    assert "| vip (n=1) | 16 | 0.500 [0.500, 0.500] | 3 | yes |" in lines
    assert (tmp_path / "grid" / "pareto.png").stat().st_size > 5_000
    assert json.loads(Artifact.get("pareto-grid").data)[0]["accuracy"] == "0.500 [0.500, 0.500]"
    with pytest.raises(ConfigError, match="started with another recipe or other overrides"):
        sweep(**settings("grid", "accuracy=0.9"))


def test_botorch_tries_as_many_designs_as_it_may(settings, tmp_path):
    chosen = settings("driven", search="botorch", designs=3, strategies=["vip"], budgets=[1, 2, 3, 4], seeds=1)
    chosen["concurrency"] = 2  # the third design is chosen while one of the corners may be running
    sweep(**chosen)
    sweep(**chosen)
    assert sorted(starts(tmp_path / "driven").values()) == [1] * 3
    state = json.loads((tmp_path / "driven" / STATE_FILE).read_text())
    assert [one["budget"] for one in state["designs"][:2]] == [1, 4]  # the corners


def test_a_trial_that_fails_does_not_keep_the_others_from_their_turn(settings, tmp_path):
    with pytest.raises(JobError, match="2 of 4 trials failed: uniform-n"):
        # Strategy and budget are part of the trainer's settings too: those of one strategy fail.
        sweep(**settings("partly", "fail_strategy=uniform", seeds=1, retries=0))
    assert sum("vip" in name for name in starts(tmp_path / "partly")) == 2
    assert "| vip (n=2) |" in (tmp_path / "partly" / "pareto.md").read_text()


def test_a_trial_without_a_validation_is_a_failure(settings):
    with pytest.raises(JobError, match=r"was never validated; set trainer\.test_freq"):
        sweep(**settings("blind", "validate=0", seeds=1, strategies=["vip"], budgets=[1]))


def test_a_damaged_state_is_named(settings, tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / STATE_FILE).write_text("{}")
    with pytest.raises(StateError, match=r"sweep\.json is damaged .*; remove it"):
        sweep(**settings("damaged"))


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.7, 1.9])
def test_a_stop_reaches_trials_whose_jobs_start_after_it(parameters, delay):
    base = from_parameters(TrainingRun, parameters("steps=2", "hold=2", name=f"late-{delay}"))
    trial = Trial(Design("vip", 1), 1)
    run = trial.run(base)

    def attempt():
        time.sleep(delay)
        with contextlib.suppress(JobError):  # it was stopped
            supervise(run.executor(), run.job(), lambda _: None, poll_s=0.1)

    thread = threading.Thread(target=attempt, daemon=True)
    future = SimpleNamespace(state=SimpleNamespace(is_final=lambda: not thread.is_alive()))
    drive = _Drive(base, SweepPlan(["vip"], [1]), SweepState(base), running={trial: future})
    thread.start()
    drive.stop()
    assert not thread.is_alive()
    assert not is_locked(run.folder)
    assert not drive.running


@pytest.mark.heavy
@pytest.mark.parametrize("number", [15, 9])
def test_an_interrupted_sweep_goes_on(settings, tmp_path, start_flow, wait_for, number):
    chosen = settings("cut", "hold=2", concurrency=2)
    folder = tmp_path / "cut"
    flow = start_flow("sweep", chosen)
    wait_for(lambda: len(starts(folder)) == 2, flow)
    for path in folder.glob("trials/*/starts.txt"):  # the next two wait
        (path.parent / "go").touch()
    wait_for(lambda: len(list(folder.glob("trials/*/complete.json"))) >= 2, flow)
    with pytest.raises(ConfigError, match="another process is working on the sweep in"):
        sweep(**chosen)
    flow.kill(number)
    flow.wait()
    if number == 15:
        assert not [trial for trial in folder.glob("trials/*") if is_locked(trial)]
    (folder / "trials" / "go").touch()
    sweep(**chosen)
    trials = [path.parent for path in folder.glob("trials/*/job.json")]
    assert len(trials) == 8
    again = [trial for trial in trials if read_entry(trial).attempt > 1]
    assert len(again) <= (2 if number == 15 else 0)
