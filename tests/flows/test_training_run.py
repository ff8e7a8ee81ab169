"""From a flow's parameters to a job."""

import re

import pytest

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.execution.job import environment_of
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.training_run import TrainingRun, recipes


def make(**changes) -> TrainingRun:
    return from_parameters(TrainingRun, {"recipe": "demo", "name": "a", "root": "/runs", "retries": 3, **changes})


def test_every_recipe_is_known():
    assert {"demo", "qwen_math_rloo", "qwen_math_dr_grpo"} <= set(recipes())
    assert "rloo" not in recipes()


def test_the_job_is_verls_own_command():
    job = make(overrides=["vip.upper=9"]).job()
    assert job.command[1:] == (
        "-m",
        "verl.trainer.main_ppo",
        "--config-path=pkg://verl_vip.recipes",
        "--config-name=demo",
        "trainer.default_local_dir=/runs/a",
        "vip.upper=9",
    )
    assert str(job.folder) == "/runs/a"
    file = environment_of(job.environment, 3)["VERL_FILE_LOGGER_PATH"]
    assert re.fullmatch(r"/runs/a/verl_metrics_3_\d{10}\.jsonl", file)


def test_a_cluster_has_its_own_interpreter():
    assert make(cluster="http://head:8265").job().command[0] == "python"
    assert make(cluster="http://head:8265", python="/env/bin/python").job().command[0] == "/env/bin/python"


def test_what_makes_a_run_another_run():
    same = make().job().fingerprint
    assert make(root="/elsewhere", cluster="http://head:8265").job().fingerprint == same
    assert make(overrides=["a=1"]).job().fingerprint != same
    assert make(environment={"A": "1"}).job().fingerprint != same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "quen_math_rloo"}, r"did you mean qwen_math_rloo\?"),
        ({"recipe": "zzz"}, "known: demo,"),
        ({"root": "runs"}, "must be an absolute path"),
        ({"overrides": ["steps"]}, "'steps' is no override; write KEY=VALUE"),
        ({"overrides": ["trainer.default_local_dir=/x"]}, "follows from the run's root and name"),
        ({"overrides": ["++trainer.default_local_dir=/x"]}, "follows from the run's root and name"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_a_name_that_leads_elsewhere():
    with pytest.raises(InvalidInputError, match="cannot name a run"):
        make(name="../a")
