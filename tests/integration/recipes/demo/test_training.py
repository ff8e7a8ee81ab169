"""The demo's command, and what it refuses before it prepares anything."""

import sys

import pytest

from verl_vip.errors import ConfigError
from verl_vip.execution import fingerprint
from verl_vip.recipes.demo.__main__ import main
from verl_vip.recipes.demo.training import Training
from verl_vip.recipes.run import RecipeRun
from verl_vip.records.records import RecordWriter, RunHeader, StepRecord
from verl_vip.records.settings import decisive_config


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "vip"),
        (["++vip.strategy='uniform'"], "uniform"),
    ],
)
def test_a_run_lies_in_a_folder_named_after_its_strategy(composed_here, tmp_path, overrides, name):
    folder = tmp_path / "a = 'b', [é] {#}"
    training = Training(folder, overrides)
    assert training.run_folder == folder / name
    assert training.job().name == name
    assert training.job().folder == folder / name


def test_its_job_is_built_as_the_flows_build_theirs(composed_here, tmp_path):
    job = Training(tmp_path, ["vip.upper=9"]).job()
    assert job.command == (
        *(sys.executable, "-m", "verl.trainer.main_ppo"),
        *("--config-path=pkg://verl_vip.recipes", "--config-name=demo", f"demo_dir={tmp_path}", "vip.upper=9"),
    )
    assert job.environment["VERL_PLATFORM"] == "cpu"
    elsewhere = RecipeRun("demo", {"demo_dir": "/elsewhere"}, ["vip.upper=9"], "python", {"A": "1"})
    settings = {"recipe": "demo", "overrides": ["vip.upper=9"], "environment": {"A": "1"}}
    assert elsewhere.job("x", tmp_path).fingerprint == fingerprint(settings)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("a", ["vip.uper=3"], "Could not override 'vip.uper'"),
        ("a${USER}", [], "demo_dir cannot be "),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_prepared(
    composed_here, tmp_path, monkeypatch, capsys, name, overrides, message
):
    monkeypatch.setenv("VERL_VIP_DEMO_DIR", str(tmp_path / name))
    assert main(overrides) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_finished_run_with_other_settings_is_refused_and_more_steps_are_not(composed_here, tmp_path):
    config = RecipeRun("demo", {"demo_dir": str(tmp_path)}, [], sys.executable).compose().config
    writer = RecordWriter(tmp_path / "vip")
    writer.append(RunHeader(0.0, {}, {}, 1, 1, config=decisive_config(config)))
    writer.append(StepRecord(20, 0.0, "vip", 1, ["a"], ["a"], [1], [1], [0.5], [0.1], [1.0], 1, {}))
    (tmp_path / "vip" / "latest_checkpointed_iteration.txt").write_text("20")
    with pytest.raises(ConfigError, match=r"finished \(step 20 of 20\).*data\.seed was 1 and is 7 now"):
        Training(tmp_path, ["data.seed=7"])
    Training(tmp_path, ["data.seed=7", "trainer.total_training_steps=30"])
