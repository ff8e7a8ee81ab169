import math

import pytest

from verl_vip.reporting.paired import advantage
from verl_vip.statistics.intervals import mean_interval


def test_pairs_have_the_same_seed_and_the_same_settings_but_for_vip(run_of):
    budget = {"actor_rollout_ref.rollout.n": 8}
    runs = {
        "u1": run_of("u1", "uniform", {16: 30.0, 32: 50.0}, seed=1, other=budget),
        "u2": run_of("u2", "uniform", {16: 40.0, 32: 60.0}, seed=2, other=budget),
        "u3": run_of("u3", "uniform", {16: 1.0, 32: 1.0}, seed=1, other={"actor_rollout_ref.rollout.n": 4}),
    }
    members = {
        "v1": run_of("v1", accuracies={16: 35.0, 32: 58.0}, seed=1, other=budget, lower=2),
        "v2": run_of("v2", accuracies={16: 47.0}, seed=2, other=budget, lower=2),
        "v9": run_of("v9", accuracies={16: 99.0}, seed=9, other=budget, lower=2),
    }
    found = advantage(members, runs | members)
    assert (found.rollouts, found.pairs) == (16, 2)
    expected = mean_interval([0.05, 0.07])
    assert found.difference.value == pytest.approx(0.06)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high))


def test_one_pair_has_no_interval(run_of):
    runs = {"u": run_of("u", "uniform", {16: 30.0}), "v": run_of("v", accuracies={16: 35.0})}
    assert math.isinf(advantage({"v": runs["v"]}, runs).difference.low)


def test_nothing_to_compare(run_of):
    runs = {"u": run_of("u", "uniform", {16: 30.0}), "v": run_of("v", accuracies={0: 1.0, 32: 35.0})}
    assert advantage({"u": runs["u"]}, runs) is None
    assert advantage({"v": runs["v"]}, runs) is None
    assert advantage({"v": runs["v"]}, {"v": runs["v"]}) is None
