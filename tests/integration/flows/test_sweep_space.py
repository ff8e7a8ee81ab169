"""Designs, trials, and the front."""

import itertools
import sys
from dataclasses import replace

import pytest

from verl_vip.errors import ConfigError
from verl_vip.execution import mark_complete
from verl_vip.flows.sweep_space import Design, Measurement, Point, SweepPlan, Trial, points
from verl_vip.flows.training_run import TrainingRun
from verl_vip.recipes.overrides import override
from verl_vip.strategies.registry import STRATEGIES

BASE = TrainingRun(recipe="demo", name="sweep-1", root="/runs", overrides=["trainer.total_training_steps=4"])


def test_a_trials_name_follows_from_its_settings():
    run = Trial(Design("vip", 8), 2).run(BASE)
    assert run.name.startswith("vip-n8-seed2-")
    assert run.folder.parts[:4] == ("/", "runs", "sweep-1", "trials")
    assert run.overrides == [
        "trainer.total_training_steps=4",
        "vip.strategy=vip",
        "actor_rollout_ref.rollout.n=8",
        "data.seed=2",
    ]
    others = [
        Trial(Design("vip", 8), 2).run(replace(BASE, overrides=["trainer.total_training_steps=5"])),
        Trial(Design("vip", 8), 2).run(replace(BASE, recipe="qwen_math_rloo")),
    ]
    assert len({run.name, *(other.name for other in others)}) == 3


def test_a_strategy_of_another_package_names_a_folder_too():
    run = Trial(Design("my_rollouts.targeted:Targeted", 8), 2).run(BASE)
    assert run.name.startswith("my_rollouts.targeted_Targeted-n8-seed2-")


def test_the_grid():
    assert SweepPlan(["vip", "dars"], [4, 8]).grid == [
        Design(*pair) for pair in itertools.product(["vip", "dars"], [4, 8])
    ]


def test_every_strategy_can_be_swept():
    assert SweepPlan([*STRATEGIES], [4]).wanted == len(STRATEGIES)


def test_a_search_whose_package_is_missing_is_refused_before_anything_is_tried(monkeypatch):
    monkeypatch.setitem(sys.modules, "botorch", None)
    SweepPlan(["vip"], [4, 8])
    with pytest.raises(ConfigError, match=r"needs the package botorch; pip install 'verl-vip\[flows\]'"):
        SweepPlan(["vip"], [4, 8], search="botorch")


def test_botorch_may_be_told_how_many_designs_to_try():
    assert SweepPlan(["vip"], [4, 8, 16], search="botorch", designs=2).wanted == 2
    assert SweepPlan(["vip"], [4, 8, 16], search="botorch", designs=9).wanted == 3
    assert SweepPlan(["vip"], [4, 8, 16], designs=2).wanted == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": []}, "at least one strategy"),
        ({"budgets": []}, "at least one"),
        ({"strategies": ["vip", "dars", "vip"]}, "strategy 'vip' is named twice"),
        ({"budgets": [4, 4]}, "budget 4 is named twice"),
        ({"budgets": [0]}, "got 0"),
        ({"strategies": ["vpi"]}, r"no strategy 'vpi'; did you mean 'vip'\?"),
        ({"seeds": 0}, "seeds must be a whole number from 1 to"),
        ({"designs": 0}, "designs must be a whole number from 1 to"),
        ({"concurrency": 0}, "concurrency must be a whole number from 1 to"),
        ({"overrides": ["vip.strategy=vip"]}, "is set by the sweep; leave .* out and use --strategies"),
        ({"overrides": ["++data.seed=3"]}, "use --seeds"),
    ],
)
def test_no_sweep(changes, message):
    with pytest.raises(ConfigError, match=message):
        SweepPlan(**{"strategies": ["vip"], "budgets": [4], **changes})


def test_trials_of_a_design_are_gathered():
    measured = {
        Trial(Design("vip", 4), 2): Measurement(0.6, 10),
        Trial(Design("uniform", 4), 1): Measurement(0.4, 10),
        Trial(Design("vip", 4), 1): Measurement(0.5, 10),
    }
    assert points(measured) == [Point(Design("uniform", 4), (0.4,), 10), Point(Design("vip", 4), (0.5, 0.6), 10)]
    assert points(measured)[1].accuracy == pytest.approx(0.55)


def test_every_design_is_checked_and_not_the_settings_that_no_trial_has(composed_here, tmp_path):
    plan = SweepPlan(["uniform", "vip"], [4, 8])
    folder = tmp_path / "input"
    (folder / "data").mkdir(parents=True)
    (folder / "model").mkdir()
    for name in ("train", "validation"):
        (folder / "data" / f"{name}.parquet").touch()
    base = replace(BASE, root=str(tmp_path), overrides=[override("demo_dir", str(folder)), "vip.upper=4"])
    with pytest.raises(ConfigError, match=r"vip\.lower and vip\.upper cannot hold the budget"):
        plan.check(base)
    small = SweepPlan(["uniform", "vip"], [3, 4])
    with pytest.raises(ConfigError, match="cannot hold the budget"):
        base.check()  # the recipe's own 8 rollouts
    assert small.check(base) == ""
    done = Trial(Design("uniform", 3), 1).run(base)
    mark_complete(done.folder, done.job().fingerprint)
    for file in (folder / "data").iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match=r"data\.train_files names"):
        small.check(base)
    assert SweepPlan(["uniform"], [3]).check(base) == ""  # a finished trial needs its files no longer
