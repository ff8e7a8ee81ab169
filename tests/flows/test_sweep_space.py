"""Designs, trials, and the front."""

import itertools

import pytest
from verl_vip.flows.sweep_space import Design, Measurement, Point, Trial, all_designs, points
from verl_vip.flows.training_run import TrainingRun

from verl_vip.errors import ConfigError

BASE = TrainingRun("demo", "sweep-1", "/runs", ["trainer.total_training_steps=4"])


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
        Trial(Design("vip", 8), 2).run(TrainingRun("demo", "sweep-1", "/runs", ["trainer.total_training_steps=5"])),
        Trial(Design("vip", 8), 2).run(TrainingRun("qwen_math_rloo", "sweep-1", "/runs", BASE.overrides)),
    ]
    assert len({run.name, *(other.name for other in others)}) == 3


def test_the_grid():
    assert all_designs(["a", "b"], [4, 8]) == [Design(*pair) for pair in itertools.product("ab", [4, 8])]


@pytest.mark.parametrize(
    ("strategies", "budgets", "message"),
    [([], [4], "at least one"), (["a"], [], "at least one"), (["a", "a"], [4], "twice"), (["a"], [0], "got 0")],
)
def test_no_grid(strategies, budgets, message):
    with pytest.raises(ConfigError, match=message):
        all_designs(strategies, budgets)


def test_trials_of_a_design_are_gathered():
    measured = {
        Trial(Design("vip", 4), 2): Measurement(0.6, 10),
        Trial(Design("uniform", 4), 1): Measurement(0.4, 10),
        Trial(Design("vip", 4), 1): Measurement(0.5, 10),
    }
    assert points(measured) == [Point(Design("uniform", 4), (0.4,), 10), Point(Design("vip", 4), (0.5, 0.6), 10)]
    assert points(measured)[1].accuracy == pytest.approx(0.55)
