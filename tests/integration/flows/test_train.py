"""The flow against a real server, its jobs being real processes that behave like verl."""

import sys

import pytest
from prefect.artifacts import Artifact

from verl_vip.errors import ConfigError, JobError
from verl_vip.execution import is_complete, mark_complete
from verl_vip.execution.files import read_entry
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.train import attempt_training, train
from verl_vip.flows.training_run import TrainingRun
from verl_vip.recipes.run import RecipeRun
from verl_vip.records.records import RecordWriter, RunHeader, StepRecord, read_run
from verl_vip.records.settings import decisive_config

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(attempt_training, "retry_delay_seconds", 0)


def starts(folder) -> list[int]:
    return [int(line) for line in (folder / "starts.txt").read_text().split()]


def test_a_run_to_its_end_and_never_again(parameters, tmp_path):
    folder = train(**parameters("steps=4", name="whole"))
    assert folder == str(tmp_path / "whole")
    records = read_run(tmp_path / "whole")
    assert [step.step for step in records.steps] == [1, 2, 3, 4]
    train(**parameters("steps=4", name="whole"))
    assert starts(tmp_path / "whole") == [0]
    assert Artifact.get("progress-whole").data == 100
    text = Artifact.get("run-whole").data
    assert "| 4 | 32 | 0.500 | 10 |" in text
    train(**parameters("steps=6", name="whole"))  # other settings: it goes on
    assert starts(tmp_path / "whole") == [0, 4]


@pytest.mark.parametrize("how", ["fail_once=4", "kill_once=4", "kill_once=1"])
def test_a_lost_attempt_is_retried_from_the_last_checkpoint(parameters, tmp_path, how):
    train(**parameters("steps=5", how))
    assert starts(tmp_path / "run-1") == [0, 2 if how.endswith("4") else 0]
    assert [step.step for step in read_run(tmp_path / "run-1").steps] == [1, 2, 3, 4, 5]


def test_what_fails_at_the_same_step_again_is_given_up(parameters, tmp_path):
    with pytest.raises(JobError, match=r"attempt 2 at run-1 failed: ended with status 1\. It made no progress"):
        train(**parameters("steps=5", "fail_at=4", retries=5))
    assert starts(tmp_path / "run-1") == [0, 2]


def test_a_setting_that_verl_refuses_is_not_tried_twice(parameters, tmp_path, caplog):
    with pytest.raises(JobError, match=r"failed: ended with status 1\. It made no progress"):
        train(**parameters("+no_such_key=1"))
    assert read_entry(tmp_path / "run-1").attempt == 1
    assert "Could not override 'no_such_key'" in caplog.text


def test_an_unknown_recipe_starts_nothing(parameters, tmp_path):
    with pytest.raises(ConfigError, match=r"no recipe 'demmo'; did you mean demo\?"):
        train(**parameters(name="unknown") | {"recipe": "demmo"})
    assert not (tmp_path / "unknown").exists()


def test_a_wrong_override_starts_nothing(parameters, tmp_path):
    with pytest.raises(ConfigError, match=r"Could not override 'vip\.uper'"):
        train(**parameters("vip.uper=3", name="wrong", python=None))
    assert not (tmp_path / "wrong").exists()


def test_what_cannot_be_checked_here_is_said_and_started(parameters, tmp_path, caplog):
    train(**parameters("steps=2", name="unchecked"))
    assert "not checked before the job starts: its verl is a pretended one" in caplog.text
    assert starts(tmp_path / "unchecked") == [0]


def test_a_finished_run_with_other_settings_is_refused(parameters, tmp_path):
    chosen = parameters("trainer.total_training_steps=2", name="finished", python=None)
    run = from_parameters(TrainingRun, chosen)
    config = RecipeRun("demo", {"trainer.default_local_dir": str(run.folder)}, run.overrides, sys.executable).compose()
    writer = RecordWriter(run.folder)
    writer.append(RunHeader(0.0, {}, {}, 1, 1, config=decisive_config(config.config)))
    writer.append(StepRecord(2, 0.0, "vip", 1, ["a"], ["a"], [1], [1], [0.5], [0.1], [1.0], 1, {}))
    (run.folder / "latest_checkpointed_iteration.txt").write_text("2")
    mark_complete(run.folder, run.job().fingerprint)
    train(**chosen)
    with pytest.raises(ConfigError, match=r"finished \(step 2 of 2\).*vip\.upper was 24 and is 12 now"):
        train(**{**chosen, "overrides": [*chosen["overrides"], "vip.upper=12"]})
    assert not (run.folder / "job.json").exists()
    assert is_complete(run.folder, run.job().fingerprint)
