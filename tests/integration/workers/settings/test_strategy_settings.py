"""Strategies that the other settings do not suit are refused before anything is sampled."""

import dataclasses

import pytest
from fixtures.sessions import ahead, started

from verl_vip.errors import ConfigError, InfeasibleBudgetError
from verl_vip.strategies.registry import STRATEGIES, build_strategy


def test_a_strategy_that_wants_a_pool_says_how_to_offer_one(settings):
    with pytest.raises(ConfigError, match=r"set data.train_batch_size=64, vip.budget=32 and .*ppo_mini_batch_size=4"):
        started(settings, strategy="mopps")


def test_bounds_that_cannot_hold_the_budget_are_refused_at_the_start(settings):
    with pytest.raises(InfeasibleBudgetError, match="4 prompts with 9 to 12 rollouts each"):
        started(dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, lower=9)))


def may_start(settings, name, **strategy_settings):
    try:
        started(settings, strategy=name, strategy_settings=strategy_settings, budget=32)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_what_the_update_cannot_follow_is_refused_before_anything_is_sampled(settings, name):
    needs = build_strategy(name, "rloo").weighs
    assert may_start(settings, name) is None
    refused = may_start(dataclasses.replace(settings, weighs_rows=False), name)
    assert ("set algorithm.adv_estimator=vip_rloo" in (refused or "")) == bool(needs)
    refused = may_start(dataclasses.replace(settings, kl_in_reward=True), name)
    assert ("set algorithm.use_kl_in_reward=False" in (refused or "")) == bool(needs & {"rollout_weight", "baseline"})


def test_what_is_refused_follows_the_strategys_settings(settings):
    settings = dataclasses.replace(settings, weighs_rows=False)
    assert may_start(settings, "prioritized") is None
    assert "weights its selection" in may_start(settings, "prioritized", correction=1.0)


@pytest.mark.parametrize("strategy", ["pods", "pilot_commit", "greso", "prioritized"])
def test_strategies_that_choose_or_wait_for_rewards_are_refused_ahead(settings, strategy):
    with pytest.raises(ConfigError, match=r"set trainer\.v1\.trainer_mode=sync, or vip\.strategy=vip"):
        started(ahead(settings), strategy=strategy, budget=32)
    started(settings, strategy=strategy, budget=32)
