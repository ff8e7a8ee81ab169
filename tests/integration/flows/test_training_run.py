"""From a flow's parameters to a job."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.errors import ConfigError, InvalidInputError, VerlVipError
from verl_vip.execution import mark_complete
from verl_vip.execution.job import environment_of
from verl_vip.flows.evaluation_run import EvaluationRun
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.training_run import TrainingRun, recipes
from verl_vip.recipes.overrides import override
from verl_vip.workers.settings.preflight import check_recipe


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


def test_a_secret_for_a_cluster_is_refused_before_anything_is_started():
    with pytest.raises(ConfigError, match=r"HF_TOKEN, WANDB_API_KEY would be readable in logs.*http://head:8265"):
        make(cluster="http://head:8265", environment={"WANDB_API_KEY": "x", "HF_TOKEN": "y", "NCCL_DEBUG": "INFO"})
    evaluation = {"name": "a", "root": "/runs", "benchmarks": ["aime24"], "environment": {"HF_TOKEN": "y"}}
    with pytest.raises(ConfigError, match="HF_TOKEN would be readable in logs"):
        from_parameters(EvaluationRun, {**evaluation, "cluster": "http://head:8265"})
    assert make(environment={"HF_TOKEN": "y"}).job().environment["HF_TOKEN"] == "y"


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
        ({"overrides": ["steps"]}, "'steps' is not an override; write KEY=VALUE"),
        ({"overrides": ["--cfg=job"]}, "'--cfg=job' is not an override; write KEY=VALUE"),
        ({"overrides": ["trainer.default_local_dir=/x"]}, "follows from the run's root and name"),
        ({"overrides": ["++trainer.default_local_dir=/x"]}, "follows from the run's root and name"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


@pytest.mark.parametrize("name", ["../a", "", "a" * 101])
def test_a_name_that_leads_elsewhere_or_is_too_long_for_what_follows_the_training(name):
    with pytest.raises(InvalidInputError, match="cannot name a run"):
        make(name=name)


ODD = "a =,([{'\"~#&!;$}])é語\\"


@pytest.fixture
def demo_dir(tmp_path_factory):
    """An override that names a folder in which all is that the demo reads."""
    folder = tmp_path_factory.mktemp(f"demo {ODD.replace('$', '')}")
    (folder / "data").mkdir()
    (folder / "model").mkdir()
    for name in ("train", "validation"):
        (folder / "data" / f"{name}.parquet").touch()
    return override("demo_dir", str(folder))


def test_a_root_of_odd_characters_arrives_where_it_should(composed_here, tmp_path, demo_dir):
    assert make(root=str(tmp_path / ODD), overrides=["vip.upper=9", demo_dir]).check() == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["demo_dir=/no/such"], "data.train_files names /no/such/data/train.parquet, which does not exist; correct it"),
        (["data.val_files=/no/such.parquet"], "data.val_files names /no/such.parquet, which"),
        (["data.train_files=[/no/a.parquet,/no/b.parquet]"], "data.train_files names /no/a.parquet, which"),
        (["data.train_files=relative.parquet"], "data.train_files names relative.parquet, which"),
        (["data.train_files='~/no/such.parquet'"], "data.train_files names ~/no/such.parquet, which"),
        (["actor_rollout_ref.model.path=/no/model"], "actor_rollout_ref.model.path names /no/model, which"),
    ],
)
def test_a_file_that_is_not_there_is_missed_before_a_job_is_started(
    composed_here, tmp_path, demo_dir, overrides, message
):
    run = make(root=str(tmp_path / "runs"), overrides=[demo_dir, *overrides])
    with pytest.raises(ConfigError, match=re.escape(message)):
        run.check()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"overrides": ["data.train_files=hdfs://there/train.parquet", "data.val_files='parts/*.parquet'"]},
        {"overrides": ["actor_rollout_ref.model.path=Qwen/Qwen2.5-0.5B"]},
        {"overrides": ["data.train_files=none", "data.custom_cls.path=mine.py"]},
        {"overrides": ["demo_dir=/on/the/nodes"], "cluster": "http://head:8265", "python": sys.executable},
    ],
)
def test_what_cannot_be_looked_for_here_is_left_to_the_job(composed_here, tmp_path, demo_dir, changes):
    run = make(root=str(tmp_path / "runs"), **{**changes, "overrides": [demo_dir, *changes["overrides"]]})
    assert run.check() == ""


def test_a_finished_run_needs_its_files_no_longer(composed_here, tmp_path):
    run = make(root=str(tmp_path), overrides=["demo_dir=/no/such"])
    mark_complete(run.folder, run.job().fingerprint)
    assert run.check() == ""


@pytest.mark.parametrize("name", ["root", "python"])
@pytest.mark.parametrize("kind", [TrainingRun, EvaluationRun])
def test_what_can_be_no_path_is_refused(kind, name):
    given = {"recipe": "demo", "name": "a", "root": "/runs", "benchmarks": ["offline"], name: "/a\0b"}
    with pytest.raises(ConfigError, match=f"{name} must be text that can be a path"):
        from_parameters(kind, given)


def test_a_root_that_verl_cannot_hold(composed_here, tmp_path):
    with pytest.raises(ConfigError, match=r"default_local_dir cannot be .*\$\{USER\}"):
        make(root=str(tmp_path / "${USER}"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vip.uper=3", "Could not override 'vip.uper'"),
        ("no.such.key=1", "To append to your config use [+]no.such.key=1"),
        ("data.seed=1,2", "Ambiguous value for argument 'data.seed=1,2'"),
        ("demo_dir=/a=b", r"Hydra cannot read .*; if its value is text, quote it: 'demo_dir="),
        ("vip.lower=99", "1 <= lower <= upper; got 99 and 24"),
        ("vip.strategy=unifrom", "did you mean 'uniform'"),
        ("+vip.predictor_settings.nose=1", "predictor 'drifting_gp' has no setting 'nose'"),
        ("trainer={default_local_dir: /x}", "Could not override|follows from the run's root"),
    ],
)
def test_a_wrong_override_is_refused(composed_here, tmp_path, override, message):
    run = make(root=str(tmp_path), overrides=[override])
    with pytest.raises(VerlVipError, match=message) as refused:
        run.check()
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["vip.budget=100"], "vip.budget=100 is not a multiple of the 256 rollouts of an optimiser step"),
        (["vip.upper=4"], "vip.lower and vip.upper cannot hold the budget"),
        (["vip.lower=9"], "vip.lower and vip.upper cannot hold the budget"),
        (["vip.strategy=uniform", "algorithm.adv_estimator=grpo", "vip.upper=4"], "cannot hold the budget"),
        (["vip.strategy=prioritized"], "set data.train_batch_size="),
        (["trainer.use_v1=False"], "set trainer.use_v1=True"),
        (["trainer.v1.trainer_mode=separate_async"], "set trainer.v1.trainer_mode=colocate_async"),
        (["algorithm.adv_estimator=gae"], "needs a critic's values"),
        (["algorithm.adv_estimator=vip_rlo"], "did you mean 'vip_rloo'"),
        (["data.train_batch_size=0"], "data.train_batch_size must be"),
    ],
)
@pytest.mark.parametrize("place", [{}, {"cluster": "http://head:8265"}], ids=["here", "cluster"])
def test_what_a_session_would_refuse_is_refused_before_a_job_is_started(
    composed_here, tmp_path, demo_dir, overrides, message, place
):
    run = make(root=str(tmp_path / "runs"), overrides=[demo_dir, *overrides], **place)
    with pytest.raises(VerlVipError, match=re.escape(message)) as refused:
        run.check()
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


@settings(max_examples=8)  # a second each
@given(
    lower=st.integers(2, 12),  # RLOO needs two
    upper=st.integers(1, 40),
    budget=st.none() | st.integers(1, 4).map(lambda steps: 256 * steps) | st.integers(1, 1200),
)
def test_a_budget_is_refused_exactly_if_it_is_impossible(lower, upper, budget):
    overrides = [f"vip.lower={lower}", f"vip.upper={upper}", *([] if budget is None else [f"vip.budget={budget}"])]
    total = 256 if budget is None else budget  # the demo's 32 prompts with 8 rollouts each, in one optimiser step
    possible = lower <= upper and total % 256 == 0 and 32 * lower <= total <= 32 * upper
    with contextlib.nullcontext() if possible else pytest.raises(VerlVipError, match=r"vip\.(lower|budget)"):
        check_recipe("demo", overrides)


def test_verls_own_names_are_left_to_the_job(composed_here, tmp_path, demo_dir):
    """Modules that the job loads may register more of them."""
    overrides = [demo_dir, "vip.strategy=uniform", "algorithm.adv_estimator=registered_by_the_job"]
    assert make(root=str(tmp_path), overrides=overrides).check() == ""


@pytest.mark.parametrize("address", ["foo", "head:8265", "ftp://head", "http://", "http://[", "http://head:0", ""])
@pytest.mark.parametrize("kind", [TrainingRun, EvaluationRun])
def test_what_can_be_no_address_of_a_cluster_is_refused(kind, address):
    given = {"recipe": "demo", "name": "a", "root": "/runs", "benchmarks": ["offline"], "cluster": address}
    with pytest.raises(ConfigError, match="a cluster is named by its dashboard's address"):
        from_parameters(kind, given)


@pytest.mark.parametrize("recipe", recipes())
def test_a_missing_data_file_leads_to_where_it_comes_from(composed_here, tmp_path, recipe):
    missing = ["data.train_files=/no/such.parquet"]
    with pytest.raises(ConfigError, match=r"data\.train_files names /no/such\.parquet") as refused:
        make(root=str(tmp_path), recipe=recipe, overrides=missing).check()
    if recipe == "demo":
        assert "make demo" in str(refused.value)
        return
    place = re.search(r"the comment in (.*\.yaml) says how", str(refused.value))
    text = Path(place[1]).read_text()
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    assert "BytedTsinghua-SIA/DAPO-Math-17k" in comment
    assert "BytedTsinghua-SIA/AIME-2024" in comment


def test_what_the_job_is_given_is_what_is_checked(tmp_path, demo_dir):
    overrides = [demo_dir, "trainer.experiment_name=${oc.env:MY_NAME}"]
    run = make(root=str(tmp_path), overrides=overrides, environment={"MY_NAME": "5"})
    assert run.check() == ""
    unset = make(root=str(tmp_path), overrides=overrides)
    with pytest.raises(ConfigError, match="MY_NAME"):
        unset.check()
    # A cluster has variables of its own.
    assert "MY_NAME" in make(root=str(tmp_path), overrides=unset.overrides, cluster="http://head:8265").check()


def test_without_an_interpreter_that_has_verl_it_says_so(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # no installed packages
    bare.chmod(0o755)
    for python, cluster in ((str(bare), None), (str(tmp_path / "nowhere"), None), (str(bare), "http://head:8265")):
        assert (
            make(root=str(tmp_path), overrides=["no.such.key=1"], python=python, cluster=cluster)
            .check()
            .startswith("the settings are not checked before the job starts: ")
        )


def test_for_a_cluster_the_verl_that_is_here_stands_in(tmp_path):
    with pytest.raises(ConfigError, match="Could not override"):
        make(
            root=str(tmp_path), overrides=["no.such.key=1"], cluster="http://head:8265", python="/there/python"
        ).check()


def test_verl_is_not_imported_to_check():
    code = (
        "import sys; from verl_vip.workers.settings.preflight import check_recipe; check_recipe('demo', []);"
        "print([name for name in ('verl', 'ray', 'vllm') if name in sys.modules]);"
        "import time; print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, seconds = done.stdout.splitlines()
    assert loaded == "[]"
    assert float(seconds) < 30
