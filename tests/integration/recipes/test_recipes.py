"""Every recipe composes with verl's own config and passes verl's own validation."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import verl_vip.recipes
from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, InfeasibleBudgetError
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.registry import build_strategy
from verl_vip.workers.session.session import Session
from verl_vip.workers.settings.run_settings import RunSettings

FOLDER = Path(verl_vip.recipes.__file__).parent
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def composed(name, *overrides):
    with initialize_config_module("verl_vip.recipes", version_base=None):
        return compose(name, overrides=list(overrides))


def added_to_verl(*overrides):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=["hydra.searchpath=[pkg://verl_vip.recipes]", *overrides])


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_accepted_by_verl_and_by_us(name, tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_VIP_DEMO_DIR", str(tmp_path))  # away from a demo that has run here
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    config = composed(name)
    validate_config(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    settings = RunSettings.from_verl(config)
    assert settings.budget.total == config.data.train_batch_size * config.actor_rollout_ref.rollout.n
    assert settings.resume_dir is None
    # one optimiser step's rows must be whole prompt groups of the nominal size
    assert config.data.train_batch_size % config.actor_rollout_ref.actor.ppo_mini_batch_size == 0


def test_demo_is_among_the_recipes():
    assert "demo" in RECIPES


def test_a_step_of_the_demo_is_one_micro_batch_and_may_have_any_number_of_rows():
    config = composed("demo")
    policy = config.actor_rollout_ref
    assert policy.actor.use_dynamic_bsz
    assert policy.rollout.log_prob_use_dynamic_bsz
    longest = config.data.max_prompt_length + config.data.max_response_length
    assert config.data.train_batch_size * policy.rollout.n * longest <= policy.actor.ppo_max_token_len_per_gpu


@pytest.mark.parametrize(("name", "lower"), [("rloo", 3), ("dr_grpo", 3), ("predicted_baseline", 1)])
def test_group_lists_every_setting_with_its_default(name, lower):
    group = OmegaConf.to_container(added_to_verl(f"+vip={name}").vip)
    assert group == {**VipConfig().to_mapping(), "lower": lower}
    settings = RunSettings.from_verl(added_to_verl(f"+vip={name}", "actor_rollout_ref.rollout.n=8"))
    assert settings.vip.objective == settings.plain["vip"]["objective"] == name


def test_prompts_are_drawn_from_a_pool_one_rollout_each_by_one_group():
    pool = ["data.train_batch_size=96", "actor_rollout_ref.actor.ppo_mini_batch_size=16", "vip.budget=16"]
    config = added_to_verl("+vip=prioritized", "actor_rollout_ref.rollout.n=1", *pool)
    settings = RunSettings.from_verl(config)
    assert settings.budget == Budget(total=16, lower=1, upper=32)
    assert config.algorithm.adv_estimator == "vip_reinforce"
    assert settings.vip.objective == "predicted_baseline"
    changed = {"strategy", "strategy_settings", "budget", "lower"}
    assert {name for name, value in VipConfig().to_mapping().items() if config.vip[name] != value} == changed


def test_a_pool_is_balanced_without_prediction_by_one_group_and_with_it_by_another_and_an_override():
    pool = ["data.train_batch_size=96", "actor_rollout_ref.actor.ppo_mini_batch_size=16", "vip.budget=16"]
    pool += ["actor_rollout_ref.rollout.n=1", "vip.balance_by=extra_info.level"]
    config = added_to_verl("+vip=balanced", *pool)
    even = RunSettings.from_verl(config).vip
    assert (even.strategy, even.strategy_settings, even.predictor) == ("balanced", {}, "beta_table")
    assert even.label_field == "extra_info.level"
    assert config.algorithm.adv_estimator == "vip_reinforce"
    predicted = added_to_verl("+vip=prioritized", "vip.strategy_settings.balance=labels", *pool)
    vip = RunSettings.from_verl(predicted).vip
    assert vip.strategy_settings == {"exponent": 2.0, "even_share": 0.25, "pool_ratio": 6.0, "balance": "labels"}
    assert (vip.label_field, vip.predictor) == ("extra_info.level", "drifting_gp")
    clustered = RunSettings.from_verl(added_to_verl("+vip=balanced", "vip.strategy=balanced_clusters", *pool)).vip
    assert build_strategy(clustered.strategy, "rloo", **clustered.strategy_settings).pool_ratio > 1


def test_a_preset_that_hydra_did_not_find_is_refused_with_the_search_path():
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=["+vip=rloo"])
    assert config.vip == "rloo"
    with pytest.raises(ConfigError, match=r"vip='rloo' was not found among the presets.*hydra\.searchpath"):
        RunSettings.from_verl(config)


def test_labels_are_not_needed_without_a_balanced_draw():
    assert RunSettings.from_verl(added_to_verl("+vip=rloo", "actor_rollout_ref.rollout.n=8")).vip.label_field is None


def test_two_overrides_add_everything_to_an_existing_run():
    config = added_to_verl("+vip=rloo", "actor_rollout_ref.rollout.n=8")
    settings = RunSettings.from_verl(config)
    assert settings.budget.total == 1024 * 8
    assert config.algorithm.adv_estimator == "vip_rloo"
    assert config.actor_rollout_ref.rollout.agent.agent_loop_manager_class.startswith("verl_vip.workers.")
    assert config.trainer.checkpoint_callback_class.startswith("verl_vip.workers.")
    assert config.trainer.v1.sampler.custom_sampler.path == "pkg://verl_vip.workers.observer"


def test_uniform_is_one_override_away():
    settings = RunSettings.from_verl(
        added_to_verl("+vip=rloo", "vip.strategy=uniform", "actor_rollout_ref.rollout.n=8")
    )
    assert settings.vip.strategy == "uniform"


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            ["trainer.v1.trainer_mode=separate_async"],
            ConfigError,
            "set trainer.v1.trainer_mode=colocate_async, or sync",
        ),
        (
            ["trainer.v1.trainer_mode=colocate_async", "trainer.v1.colocate_async.num_warmup_batches=1.5"],
            ConfigError,
            "set trainer.v1.colocate_async.num_warmup_batches=2",
        ),
        (
            [
                "trainer.v1.trainer_mode=colocate_async",
                "trainer.v1.colocate_async.num_warmup_batches=2",
                "trainer.v1.sampler.max_off_policy_threshold=2",
            ],
            ConfigError,
            "set trainer.v1.sampler.max_off_policy_threshold=3",
        ),
        (
            ["trainer.v1.sampler.sync_refill_failed_groups=True"],
            ConfigError,
            "set trainer.v1.sampler.sync_refill_failed_groups=False",
        ),
        (["algorithm.filter_groups.enable=True"], ConfigError, "set algorithm.filter_groups.enable=False"),
        (["trainer.use_v1=False"], ConfigError, "set trainer.use_v1=True"),
        (["data.gen_batch_size=16"], ConfigError, "leave data.gen_batch_size=null"),
        (["reward.reward_model.enable=True"], ConfigError, "enable_resource_pool=True"),
        *(
            (
                ["vip.objective=rloo", f"algorithm.adv_estimator={other}"],
                ConfigError,
                "adv_estimator=vip_rloo, or vip.obj",
            )
            for other in ("vip_dr_grpo", "vip_predicted_baseline")
        ),
        (
            ["algorithm.adv_estimator=vip_dr_grpo", "vip.lower=2"],
            ConfigError,
            "vip.objective=dr_grpo, which follows algorithm.adv_estimator='vip_dr_grpo' and needs at least 3",
        ),
        (
            ["vip.objective=predicted_baseline", "algorithm.adv_estimator=grpo"],
            ConfigError,
            "set algorithm.adv_estimator=vip_predicted_baseline or vip_reinforce",
        ),
        (
            ["actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm"],
            ConfigError,
            "set actor_rollout_ref.actor.loss_scale_factor=${data.max_response_length}",
        ),
        (
            ["vip.utility=log_success", "algorithm.adv_estimator=grpo"],
            ConfigError,
            "set algorithm.adv_estimator=vip_rl",
        ),
        (["vip.utility=log_success", "algorithm.adv_estimator=vip_max_rl"], ConfigError, "set vip.utility=success"),
        (
            ["algorithm.use_kl_in_reward=True", "algorithm.adv_estimator=vip_max_rl"],
            ConfigError,
            "set algorithm.use_kl_in_reward=False",
        ),
        (["vip.lower=1"], ConfigError, "set vip.lower=2"),
        (["algorithm.adv_estimator=vip_rlo"], ConfigError, "'vip_rlo'; did you mean 'vip_rloo'?"),
        (["algorithm.adv_estimator=grop"], ConfigError, "'grop'; did you mean 'grpo'?"),
        (["algorithm.adv_estimator=remax"], ConfigError, "needs the rewards of greedy responses"),
        (["algorithm.adv_estimator=gae"], ConfigError, "set critic.enable=True"),
        (["algorithm.adv_estimator=null"], ConfigError, "algorithm.adv_estimator must be text; got None"),
        (["vip.predictor=oracle"], ConfigError, "set vip.predictor=drifting_gp"),
        (["vip.strategy=oracle"], ConfigError, "set vip.strategy=vip"),
        (["vip.poll_seconds=nan"], ConfigError, "vip.poll_seconds must be a finite number"),
        (["data.train_batch_size=null"], ConfigError, "data.train_batch_size must be a whole number from 1"),
        (["trainer.save_freq=often"], ConfigError, "trainer.save_freq must be a whole number; got 'often'"),
        (["trainer.default_local_dir=null"], ConfigError, "trainer.default_local_dir must be text that can be a path"),
        (["algorithm.use_kl_in_reward='no'"], ConfigError, "algorithm.use_kl_in_reward must be true or false"),
        (["actor_rollout_ref.rollout.val_kwargs.n=0"], ConfigError, "actor_rollout_ref.rollout.val_kwargs.n must be"),
        (["trainer.resume_mode=never"], ConfigError, "trainer.resume_mode must be one of 'auto', 'disable', "),
        (["trainer.resume_mode=resume_path"], ConfigError, "trainer.resume_from_path; got None"),
        (["data.train_batch_size=${no.such}"], ConfigError, "data.train_batch_size: Interpolation key 'no.such'"),
        (["+vip.lowr=3"], ConfigError, "did you mean vip.lower?"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_set(overrides, error, message):
    config = added_to_verl("+vip=rloo", "actor_rollout_ref.rollout.n=8", *overrides)
    with pytest.raises(error) as caught:
        RunSettings.from_verl(config)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("n", "message"),
    [(2, "take 3072 to 32768 rollouts, and the budget is 2048"), (64, "the budget is 65536")],
)
def test_bounds_that_cannot_hold_the_budget_are_refused_with_the_numbers(n, message):
    settings = RunSettings.from_verl(added_to_verl("+vip=rloo", f"actor_rollout_ref.rollout.n={n}"))
    with pytest.raises(InfeasibleBudgetError, match=message):
        Session(settings)


@pytest.mark.parametrize(("ahead", "oldest"), [(0, 1), (1, 8), (3, 4), (2, "null")])
def test_batches_are_sampled_ahead_where_verl_is_asked_to(ahead, oldest):
    settings = RunSettings.from_verl(
        added_to_verl(
            "+vip=rloo",
            "actor_rollout_ref.rollout.n=8",
            "trainer.v1.trainer_mode=colocate_async",
            f"trainer.v1.colocate_async.num_warmup_batches={ahead}",
            f"trainer.v1.sampler.max_off_policy_threshold={oldest}",
            "data.gen_batch_size=1",  # what verl sets there
        )
    )
    assert settings.batches_ahead == ahead
    assert any(f"up to {ahead} updates old" in note for note in settings.notes) == (ahead > 0)


def test_a_config_without_the_group_says_how_to_add_it():
    with pytest.raises(ConfigError, match=r"\+vip=rloo"):
        RunSettings.from_verl(added_to_verl())
