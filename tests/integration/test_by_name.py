"""Strategies, predictors and advantage estimators of other packages are found, and what is wrong with one is said."""

import dataclasses
import os
import re
import subprocess
import sys

import pytest
import torch
from fixtures import ROOT
from hydra import compose, initialize_config_module
from verl.trainer.ppo import core_algos

from verl_vip.errors import ConfigError
from verl_vip.prediction.registry import build_predictor
from verl_vip.recipes.overrides import override
from verl_vip.strategies import Strategy
from verl_vip.strategies.registry import build_strategy
from verl_vip.workers.checkpoint import PredictorCheckpoint
from verl_vip.workers.session import current
from verl_vip.workers.session.outcomes import Rollouts
from verl_vip.workers.session.session import Session
from verl_vip.workers.settings.preflight import check_recipe
from verl_vip.workers.settings.run_settings import RunSettings


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip installed the package that docs/extend.md prints."""
    source, target = tmp_path_factory.mktemp("my-rollouts"), tmp_path_factory.mktemp("installed")
    page = (ROOT / "docs" / "extend.md").read_text()
    files = re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```', page, flags=re.MULTILINE | re.DOTALL)
    assert len(files) == 4
    for name, text in [*files, ("my_rollouts/__init__.py", "")]:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True)
    return target


@pytest.fixture
def importable(installed, monkeypatch):
    monkeypatch.syspath_prepend(installed)
    yield installed
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_rollouts"]:
        del sys.modules[name]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of one's own."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return tmp_path

    return write


def register(folder, package, group, line):
    """Do what an installer does for a package with one entry point."""
    info = folder / f"{package}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line}\n")


@pytest.mark.parametrize("name", ["targeted", "my_rollouts.targeted:Targeted"])
def test_a_strategy_of_another_package_is_built_with_its_settings(importable, name):
    strategy = build_strategy(name, "rloo", target=0.4)
    assert isinstance(strategy, Strategy)
    assert type(strategy).__module__ == "my_rollouts.targeted"
    with pytest.raises(ConfigError, match="has no setting 'tarjet'; did you mean 'target'"):
        build_strategy(name, "rloo", tarjet=0.4)


def test_simulate_runs_a_strategy_and_a_predictor_of_another_package(installed, tmp_path):
    command = ["-m", "verl_vip.cli", "simulate", "--strategies", "targeted", "--predictor", "fading", "--seeds", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, *command, "--output", str(tmp_path / "simulated")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "targeted" in done.stdout


def test_a_session_trains_and_resumes_with_them(importable, tmp_path):
    settings = session_settings(tmp_path)
    session = Session(settings)
    session.restore()
    session.start()
    assert counts_of(session, 1) == [8, 8, 8, 8]
    train(session, 1, [8, 8, 8, 8], earned=[0, 8, 4, 1])
    second = counts_of(session, 2)
    assert sum(second) == 32
    assert second[2] == max(second) > max(second[0], second[1])
    train(session, 2, second, earned=[0, 1, 4, 1])
    resumed = Session(dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_2"))
    resumed.restore()
    assert counts_of(resumed, 3) == counts_of(session, 3) != second


def session_settings(folder):
    overrides = ["trainer.save_freq=2", "vip.strategy=my_rollouts.targeted:Targeted", "vip.predictor=fading"]
    return RunSettings.from_verl(demo(folder, *overrides))


def demo(folder, *overrides):
    with initialize_config_module("verl_vip.recipes", version_base=None):
        small = (f"demo_dir={folder}", "data.train_batch_size=4", "vip.lower=2", "vip.upper=12")
        return compose("demo", overrides=[*small, *overrides])


def counts_of(session, step):
    messages = [[{"role": "user", "content": f"Add {number} and {number}"}] for number in range(4)]
    return session.plan(step=step, uids=list("abcd"), messages=messages, labels=["add"] * 4)


def train(session, step, counts, earned):
    uids = [uid for uid, count in zip("abcd", counts, strict=True) for _ in range(count)]
    rewards = [float(row < solved) for count, solved in zip(counts, earned, strict=True) for row in range(count)]
    taken = session.training_step(step)
    assert taken.receive(Rollouts(uids, rewards, [5] * len(uids))) == {}
    taken.select()
    taken.observe()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.module:Class", "cannot be imported .*No module named 'no_such_package'.*install its package"),
        ("json.no_such:Class", "cannot be imported .*No module named 'json.no_such'"),
        ("json:Decoder", "does not exist: json has no attribute Decoder"),
        ("json:decoder.Nothing", "does not exist: json has no attribute decoder.Nothing"),
        ("string:digits", "is not a class that can be built"),
        ("os:_exit", "needs the setting 'status'"),
        ("collections:OrderedDict", "is not a class that can be built"),
        (
            "fractions:Fraction",
            "lacks pool_ratio, group_size, decides_beforehand, weighs, rounds, state_dict, load_state_dict",
        ),
        ("vip:", "there is no strategy 'vip:'; did you mean 'vip'"),
        (":Vip", "there is no strategy"),
        ("..json:Decoder", "there is no strategy"),
        ("json", "there is no strategy"),
        ("", "there is no strategy"),
    ],
)
def test_what_is_wrong_with_a_place_is_said(name, message):
    with pytest.raises(ConfigError, match=message):
        build_strategy(name, "rloo")


def test_a_predictor_that_lacks_a_method_is_refused_by_the_name_of_its_contract(module):
    module("half_a_predictor", "class Half:\n    def predict(self, prompts): ...\n    def observe(self): ...\n")
    with pytest.raises(ConfigError, match=r"lacks state_dict, load_state_dict, metrics; .*\.Predictor\.$"):
        build_predictor("half_a_predictor:Half")


def test_own_names_win_over_entry_points(module):
    folder = module("impostor", "raise AssertionError('imported')\n")
    register(folder, "impostor", "verl_vip.strategies", "uniform = impostor:Uniform")
    assert type(build_strategy("uniform", "rloo")).__module__.startswith("verl_vip.")


def test_a_name_that_two_packages_register_is_refused_with_both_places(module):
    folder = module("one", "")
    register(folder, "one", "verl_vip.predictors", "shared = one:First")
    register(folder, "two", "verl_vip.predictors", "shared = two:Second")
    with pytest.raises(ConfigError, match="one:First, two:Second"):
        build_predictor("shared")


def test_an_entry_point_is_suggested_for_a_name_that_is_nearly_its(importable):
    with pytest.raises(ConfigError, match="did you mean 'targeted'"):
        build_strategy("targetted", "rloo")


@pytest.fixture
def registry(monkeypatch):
    """verl's advantage estimators; what is registered while the test runs is forgotten."""
    monkeypatch.setattr(core_algos, "ADV_ESTIMATOR_REGISTRY", dict(core_algos.ADV_ESTIMATOR_REGISTRY))
    monkeypatch.setattr(current, "_session", None)
    return core_algos.ADV_ESTIMATOR_REGISTRY


@pytest.mark.parametrize("name", ["lenient", "my_rollouts.lenient:lenient"])
def test_verl_calls_an_advantage_estimator_of_another_package_and_its_prompts_weigh_alike(
    importable, tmp_path, registry, name
):
    config = demo(tmp_path, override("algorithm.adv_estimator", name), "vip.strategy=prioritized", "vip.lower=2",
                  "+vip.strategy_settings={pool_ratio: 1.0, correction: 1.0, group_size: 8}")  # fmt: skip
    for _ in range(2):  # a process may open a run twice
        PredictorCheckpoint(config)
    session = current.current_session()
    assert session.settings.weighs_rows
    assert session.settings.vip.objective == "rloo"
    assert f"the variance of {name} is not known" in " ".join(session.settings.notes)
    uids = list("abcd")
    session.plan(step=1, uids=uids, messages=[[{"role": "user", "content": uid}] for uid in uids], labels=["add"] * 4)
    counts = session.state.plans.head(1).counts
    rows = [uid for uid, count in zip(uids, counts, strict=True) for _ in range(count)]
    rewards = [float(row % 4 == 0) for row in range(len(rows))]
    step = session.training_step(1)
    step.receive(Rollouts(rows, rewards, [5] * len(rows)))
    step.select()
    found, _ = core_algos.get_adv_estimator_fn(name)(
        token_level_rewards=torch.tensor(rewards).unsqueeze(1), response_mask=torch.ones(len(rows), 1), index=rows,
        config=None,
    )  # fmt: skip
    by_hand = [0.75 if reward else -0.125 for reward in rewards]  # a quarter is solved in every group of eight
    factor = len(rows) / len(set(rows)) / 8
    torch.testing.assert_close(found[:, 0], factor * torch.tensor(by_hand))


def test_names_of_verls_own_estimators_win_over_entry_points(module, registry, tmp_path):
    folder = module("impostor", "raise AssertionError('imported')\n")
    register(folder, "impostor", "verl_vip.advantages", "grpo = impostor:grpo")
    PredictorCheckpoint(demo(tmp_path, "algorithm.adv_estimator=grpo"))
    assert not current.current_session().settings.weighs_rows
    assert registry["grpo"].__module__.startswith("verl.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no_such_package.module:function",
            "'no_such_package.module:function' cannot be imported .*install its package",
        ),
        ("json:loader", "does not exist: json has no attribute loader"),
        ("string:digits", "is not a function; give the name of a function that takes a GroupedRewards"),
        ("fractions:Fraction", "must be a function that takes a GroupedRewards"),
        ("operator:add", "must be a function that takes a GroupedRewards"),
        ("lenint", "did you mean 'lenient'"),
        ("vip_rlo", "did you mean 'vip_rloo'"),
        ("json:", "there is no algorithm.adv_estimator"),
    ],
)
def test_what_is_wrong_with_an_advantage_estimator_is_said_before_anything_starts(importable, tmp_path, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        RunSettings.from_verl(demo(tmp_path, override("algorithm.adv_estimator", name)))
    assert "algorithm.adv_estimator" in str(caught.value)


def test_the_recipes_check_knows_an_advantage_estimator_by_its_place(importable):
    place = override("algorithm.adv_estimator", "my_rollouts.lenient:lenient")
    assert check_recipe("demo", [place])["algorithm"]["adv_estimator"] == "my_rollouts.lenient:lenient"
    for wrong in ("my_rollouts.lenient:strict", "vip_rlo"):
        with pytest.raises(ConfigError, match=r"algorithm\.adv_estimator"):
            check_recipe("demo", [override("algorithm.adv_estimator", wrong)])
