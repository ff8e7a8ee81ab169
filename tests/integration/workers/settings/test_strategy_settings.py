"""Strategies that the other settings do not suit are refused before anything is sampled."""

import copy
import dataclasses
import re

import pytest
import torch
from fixtures.sessions import ahead, demo_config, started
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, InfeasibleBudgetError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.registry import STRATEGIES, build_strategy
from verl_vip.workers.settings.run_settings import RunSettings
from verl_vip.workers.settings.strategy_settings import pool_warnings, require_usable_strategy, strategy_notes

#: A run knows no true success probabilities.
TRAINABLE = sorted(STRATEGIES.keys() - {"oracle"})
CHOOSING = [name for name in TRAINABLE if build_strategy(name, "rloo").pool_ratio > 1]


def with_a_pool(settings, name):
    """Return settings whose budget of 32 pays for a part of the batch only, if the strategy chooses from a pool."""
    return dataclasses.replace(settings, prompts_per_step=64) if name in CHOOSING else settings


def configured(name, overrides):
    config = copy.deepcopy(demo_config(()))
    OmegaConf.set_struct(config, value=False)
    for key, value in {"vip.strategy": name, "demo_dir": "/no/such/folder", **overrides}.items():
        OmegaConf.update(config, key, value)
    settings = RunSettings.from_verl(config)
    return config, settings, build_strategy(name, settings.vip.minimised, **settings.vip.strategy_settings)


def first_counts(settings, strategy):
    """Return the counts of the strategy's first round over a batch of prompts about which nothing is known."""
    size = settings.prompts_per_step
    generator = torch.Generator().manual_seed(0)
    prompts = Prompts(
        tuple(f"q{row}" for row in range(size)),
        torch.randn(size, 4, generator=generator),
        tuple("ab"[row % 2] for row in range(size)),
    )
    prediction = Prediction(torch.rand(size, generator=generator) * 0.8 + 0.1, torch.full((size,), 0.01))
    return next(strategy.rounds(prompts, prediction, settings.budget))


@options(max_examples=25, deadline=None)
@given(
    st.sampled_from(CHOOSING), st.integers(1, 24), st.sampled_from([1, 2, 3, 5, 8]), st.integers(1, 4), st.booleans()
)
def test_who_follows_the_advice_on_pools_gets_a_run_that_chooses(name, batch, n, lower, with_budget):
    first = {
        "data.train_batch_size": batch,
        "actor_rollout_ref.actor.ppo_mini_batch_size": batch,
        "actor_rollout_ref.rollout.n": n,
        "vip.lower": lower,
        "vip.upper": 16,
        "vip.objective": "predicted_baseline",
        "algorithm.adv_estimator": "vip_predicted_baseline",
        **({"vip.budget": batch * n} if with_budget else {}),
    }
    _, settings, strategy = configured(name, first)
    try:
        require_usable_strategy(settings, strategy)
        found = pool_warnings(settings, strategy)
    except InfeasibleBudgetError:
        assert batch * n < lower or not batch * lower <= batch * n <= batch * 16
        return
    except ConfigError as error:
        found = [str(error)]
    if not found:
        # The first round of Pilot-Commit is of pilots, before any prompt is chosen.
        assert name == "pilot_commit" or batch >= 1.5 * int((first_counts(settings, strategy) > 0).sum())
        return
    advised = dict(re.findall(r"([\w.]+)=(\d+)", found[0].partition("; set ")[2]))
    assert len(advised) == 4
    followed = first | {key: int(value) for key, value in advised.items()}
    config, settings, strategy = configured(name, followed)
    require_usable_strategy(settings, strategy)
    assert pool_warnings(settings, strategy) == []
    validate_config(config, need_reference_policy(config), need_critic(config))
    assert followed["vip.budget"] == followed["actor_rollout_ref.actor.ppo_mini_batch_size"] * int(
        followed["actor_rollout_ref.rollout.n"]
    )
    assert batch * n - settings.budget.total < followed["actor_rollout_ref.rollout.n"]
    assert 0 < int((first_counts(settings, strategy) > 0).sum()) <= settings.prompts_per_step / 1.5


@pytest.mark.parametrize("name", ["balanced", "prioritized", "thompson"])
def test_single_rollouts_are_advised_as_the_documentation_does(name):
    single = {"data.train_batch_size": 32, "actor_rollout_ref.actor.ppo_mini_batch_size": 32, "vip.lower": 1}
    single |= {"vip.objective": "predicted_baseline", "algorithm.adv_estimator": "vip_predicted_baseline"}
    _, settings, strategy = configured(name, {**single, "actor_rollout_ref.rollout.n": 8})
    ratio = int(strategy.pool_ratio)
    with pytest.raises(ConfigError) as caught:
        require_usable_strategy(settings, strategy)
    assert (
        f"the budget of 256 rollouts serves all 32 prompts of the batch; set data.train_batch_size={ratio * 256}, "
        "vip.budget=256, actor_rollout_ref.actor.ppo_mini_batch_size=256 and actor_rollout_ref.rollout.n=1"
    ) in str(caught.value)


def test_a_small_pool_is_warned_of_at_the_start(settings, caplog):
    for prompts, warned in ((17, True), (23, True), (24, False)):
        caplog.clear()
        started(dataclasses.replace(settings, prompts_per_step=prompts), strategy="prioritized", budget=32)
        assert ("serves 16 of the" in caplog.text) == warned
        levels = {record.levelname for record in caplog.records if "serves 16" in record.message}
        assert levels == ({"WARNING"} if warned else set())
    with pytest.raises(ConfigError, match="serves all 16 prompts"):
        started(dataclasses.replace(settings, prompts_per_step=16), strategy="prioritized", budget=32)


def test_the_oracle_is_refused_with_what_to_use(settings):
    with pytest.raises(ConfigError, match=r"only in a simulation; set vip\.strategy=vip"):
        started(settings, strategy="oracle")


def test_bounds_that_cannot_hold_the_budget_are_refused_at_the_start(settings):
    with pytest.raises(InfeasibleBudgetError, match="4 prompts with 9 to 12 rollouts each"):
        started(dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, lower=9)))


def may_start(settings, name, **strategy_settings):
    try:
        started(with_a_pool(settings, name), strategy=name, strategy_settings=strategy_settings, budget=32)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", TRAINABLE)
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
    settings = with_a_pool(settings, strategy)
    with pytest.raises(ConfigError, match=r"set trainer\.v1\.trainer_mode=sync, or vip\.strategy=vip"):
        started(ahead(settings), strategy=strategy, budget=32)
    started(settings, strategy=strategy, budget=32)


def test_a_run_says_what_it_ascends_if_its_strategy_chooses_prompts():
    for name in TRAINABLE:
        strategy = build_strategy(name, "rloo")
        found = strategy_notes(VipConfig(strategy=name), strategy)
        chooses = strategy.pool_ratio > 1 and "prompt_weight" not in strategy.weighs
        assert bool(found) == chooses
        assert ("correction=1.0" in "".join(found)) == (name in ("prioritized", "balanced", "balanced_clusters"))


def test_a_corrected_draw_ascends_the_mean_and_the_log_of_others_says_so(settings, caplog):
    assert strategy_notes(VipConfig(), build_strategy("prioritized", "rloo", correction=1.0)) == []
    with caplog.at_level("INFO"):
        started(with_a_pool(settings, "prioritized"), strategy="prioritized", budget=32)
    assert "a prompt counts as often as it is chosen" in caplog.text
