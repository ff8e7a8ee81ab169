"""Strategies that the other settings do not suit are refused before anything is sampled."""

import dataclasses

import pytest
from fixtures.sessions import ahead, started

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, InfeasibleBudgetError
from verl_vip.strategies.registry import STRATEGIES, build_strategy
from verl_vip.workers.settings.strategy_settings import strategy_notes


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


def test_a_run_says_what_it_ascends_if_its_strategy_chooses_prompts():
    for name in STRATEGIES:
        strategy = build_strategy(name, "rloo")
        found = strategy_notes(VipConfig(strategy=name), strategy)
        chooses = strategy.pool_ratio > 1 and "prompt_weight" not in strategy.weighs
        assert bool(found) == chooses
        assert ("correction=1.0" in "".join(found)) == (name in ("prioritized", "balanced", "balanced_clusters"))


def test_a_corrected_draw_ascends_the_mean_and_the_log_of_others_says_so(settings, caplog):
    assert strategy_notes(VipConfig(), build_strategy("prioritized", "rloo", correction=1.0)) == []
    with caplog.at_level("INFO"):
        started(settings, strategy="prioritized", budget=32)
    assert "a prompt counts as often as it is chosen" in caplog.text
