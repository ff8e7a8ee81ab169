"""The learning benchmark under verl: its settings are accepted, and its reward is that of the loop."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

import verl_vip.recipes  # noqa: F401 - makes the package's configs findable
from benchmarks.learning.verl_agreement import LOOP, compare, verl_rewards
from benchmarks.learning.verl_reward import compute_score
from benchmarks.learning.verl_runs import ARMS, overrides
from verl_vip.workers.settings.run_settings import RunSettings

ALL = [(bench, arm) for bench, arms in ARMS.items() for arm in arms]


def test_the_loop_has_a_version_of_every_arm():
    assert {bench: set(arms) for bench, arms in LOOP.items()} == {bench: set(arms) for bench, arms in ARMS.items()}


@pytest.mark.parametrize(("bench", "arm"), ALL)
def test_the_settings_are_accepted_and_spend_what_the_loop_spends(bench, arm):
    with initialize_config_module("verl_vip.recipes", version_base=None):
        config = compose("demo", overrides(bench, arm, Path("runs"), Path("model"), 3, 0))
    _, prompts, group, *_ = ARMS[bench][arm]
    if config.actor_rollout_ref.rollout.agent.agent_loop_manager_class is None:  # stock verl
        assert config.data.train_batch_size * config.actor_rollout_ref.rollout.n == prompts * group
    else:
        assert RunSettings.from_verl(config).budget.total == prompts * group


@pytest.mark.parametrize(
    ("response", "free", "reward"),
    [
        ("q w e r t y a b c", 6, 1.0),
        ("qwertyabc", 6, 1.0),
        ("abc", 0, 1.0),
        ("qwertyab", 6, 0.0),
        ("abc", 6, 0.0),
        ("", 6, 0.0),
    ],
)
def test_what_comes_after_the_free_letters_is_the_answer(response, free, reward):
    assert compute_score("sort", response, "abc", {"free": free, "trailing": 0}) == reward


@pytest.mark.parametrize(
    ("response", "reward"),
    [("a b c . q w e", 1.0), ("abc.", 1.0), ("abc", 0.0), ("abcd.qw", 0.0), ("qabc.", 0.0), ("", 0.0)],
)
def test_whatever_follows_the_answers_stop_does_not_count(response, reward):
    assert compute_score("sort", response, "abc", {"free": 0, "trailing": 32}) == reward


def test_the_mean_of_verls_runs_is_set_against_the_spread_of_the_loops(tmp_path):
    def line(reward):
        return json.dumps({"data": {"critic/score/mean": reward}}) + "\n"

    logs = [tmp_path / f"prioritized-seed{seed}.jsonl" for seed in range(2)]
    logs[0].write_text(line(0.4) + line(0.5) + line(0.9) + line(0.9))
    logs[1].write_text(line(0.6) + line(0.5) + '{"data": ')  # killed in its third step
    verl = verl_rewards(logs)
    assert verl.tolist() == [[0.4, 0.5], [0.6, 0.5]]
    assert verl_rewards([]).size == 0
    found = compare(verl, np.array([[0.3, 0.5], [0.5, 0.7]]))
    assert found["first_half"]["verl"] == pytest.approx(0.5)
    # One run's deviation is .1414 and that of a mean of two .1.
    assert found["first_half"]["z"] == pytest.approx(1.0)
    assert found["second_half"]["z"] == pytest.approx(-1.0)
