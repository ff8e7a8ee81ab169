"""verl's own losses against the gradient weights that the analysis assumes, over groups of unequal size."""

import functools
import inspect
import math
import re
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_module
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from verl.trainer.config.algorithm import RolloutCorrectionConfig
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, get_adv_estimator_fn, get_policy_loss_fn
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.workers.config import ActorConfig, FSDPActorConfig, PolicyLossConfig

from verl_vip.errors import ConfigError
from verl_vip.prediction.contract import Prediction
from verl_vip.records.settings import decisive_config
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.workers import advantage
from verl_vip.workers.advantage import row_advantages
from verl_vip.workers.session.update_terms import UpdateTerms
from verl_vip.workers.settings.run_settings import RunSettings
from verl_vip.workers.settings.update_settings import LOSS_MODES

COUNTS = {"a": 1, "b": 3, "c": 5, "d": 7}
SCALE = 32


def batch(seed, missing=0):
    """Rewards, uids and lengths of 16 nominal rows, in random order; the last `missing` are padding instead."""
    generator = torch.Generator().manual_seed(seed)
    uids = [uid for uid, count in COUNTS.items() for _ in range(count)]
    uids = [uids[row] for row in torch.randperm(16, generator=generator).tolist()]
    uids = uids[: 16 - missing] + [f"pad{row}" for row in range(missing)]
    rewards = torch.randint(0, 2, (16,), generator=generator).double()
    lengths = torch.randint(1, 9, (16,), generator=generator)
    return rewards, uids, lengths


def token_gradients(mode, advantages, lengths, micro_batches, dp_size=1, *, policy_loss="vanilla", nominal=16):
    """The gradient of verl's loss in each row's log-probabilities (`N x 8`), as its engine puts the loss together.

    Rows go to `dp_size` ranks, each rank's to micro-batches padded to their own width. Micro-batches accumulate,
    and FSDP averages over ranks (`FSDPEngine.forward_backward_batch`).
    """
    scale = SCALE if mode == "seq-mean-token-sum-norm" else None
    correction = RolloutCorrectionConfig(rollout_is=None, rollout_rs=None)
    config = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=4,
        ppo_micro_batch_size_per_gpu=1,
        loss_agg_mode=mode,
        loss_scale_factor=scale,
        policy_loss=PolicyLossConfig(loss_mode=policy_loss, dro_beta=0.1, rollout_correction=correction),
    )
    tokens = float(lengths.sum())
    config.global_batch_info.update(
        dp_size=dp_size, batch_num_tokens=tokens, global_batch_size=nominal, loss_scale_factor=scale
    )
    found = torch.zeros(len(lengths), 8, dtype=torch.float64)
    for rows in torch.arange(len(lengths)).chunk(micro_batches):
        width = int(lengths[rows].max().clamp_min(1))
        mask = (torch.arange(width) < lengths[rows].unsqueeze(-1)).double()
        old = torch.full_like(mask, -1.0)
        new = old.clone().requires_grad_()
        loss, _ = get_policy_loss_fn(policy_loss)(
            old_log_prob=old,
            log_prob=new,
            advantages=advantages[rows].unsqueeze(-1) * mask,
            response_mask=mask,
            loss_agg_mode=mode,
            config=config,
        )
        loss.backward()
        found[rows, :width] += new.grad / dp_size
    return found


def analysed(mode, rewards, uids, lengths, nominal=16):
    """The gradient of minus the mean over prompts of the mean over rollouts of RLOO's advantage times the score."""
    found = torch.zeros(len(uids), 8, dtype=torch.float64)
    real = [row for row in range(len(uids)) if not uids[row].startswith("pad")]
    present = {uids[row] for row in real}
    tokens = float(lengths[real].sum())
    for row in real:
        group = [other for other in real if uids[other] == uids[row]]
        rest = [float(rewards[other]) for other in group if other != row]
        if not rest:
            continue
        advantage = float(rewards[row]) - sum(rest) / len(rest)
        per_token = {
            "seq-mean-token-mean": 1 / float(lengths[row]),
            "seq-mean-token-sum": 1.0,
            "seq-mean-token-sum-norm": 1 / SCALE,
            "token-sum": float(nominal),
            "token-mean": len(real) / tokens,
        }[mode]
        found[row, : int(lengths[row])] = -advantage * per_token / (len(present) * len(group))
    return found


@pytest.mark.parametrize("mode", LOSS_MODES)
@pytest.mark.parametrize(("micro_batches", "dp_size"), [(1, 1), (4, 1), (16, 1), (4, 2)])
@pytest.mark.parametrize("missing", [0, 3])
def test_verls_loss_has_the_analysed_weights(mode, micro_batches, dp_size, missing):
    rewards, uids, lengths = batch(seed=missing, missing=missing)
    lengths[16 - missing :] = 0  # verl masks the whole response of a padded row
    names = sorted(COUNTS)
    prediction = Prediction(torch.full((4,), 0.5), torch.zeros(4))
    settings = settings_of(f"actor_rollout_ref.actor.loss_agg_mode={mode}")
    advantages = row_advantages(
        rewards,
        uids,
        UpdateTerms.of_batch(names, prediction, GradientVariance(), [(0.0, 1.0)] * 4),
        estimator="rloo",
        rows=None if settings.divides_by_tokens else 16,
    )
    found = token_gradients(mode, advantages, lengths, micro_batches, dp_size)
    torch.testing.assert_close(found, analysed(mode, rewards, uids, lengths), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(POLICY_LOSS_REGISTRY))
def test_every_loss_of_verl_keeps_the_weights_or_is_refused(name):
    """Where old and new policy agree, as in the first optimiser step; there clipping and penalties have no effect."""
    rewards, uids, lengths = batch(seed=0)
    override = f"actor_rollout_ref.actor.policy_loss.loss_mode={name}"
    prediction = Prediction(torch.full((4,), 0.5), torch.zeros(4))
    terms = UpdateTerms.of_batch(sorted(COUNTS), prediction, GradientVariance(), [(0.0, 1.0)] * 4)
    for mode in LOSS_MODES:
        setting = f"actor_rollout_ref.actor.loss_agg_mode={mode}"
        if name == "geo_mean":
            with pytest.raises(ConfigError, match="averages over the rows of each micro-batch"):
                settings_of(override, setting)
            continue
        settings = settings_of(override, setting)
        rows = None if settings.divides_by_tokens else 16
        advantages = row_advantages(rewards, uids, terms, estimator="rloo", rows=rows)
        found = token_gradients(mode, advantages, lengths, 4, policy_loss=name)
        effective = "seq-mean-token-mean" if name == "sapo" else mode
        wanted = analysed(effective, rewards, uids, lengths)
        # What verl sets aside as a regulariser, a token or two of the whole batch, is not a weight of a prompt.
        equal = torch.isclose(found, wanted, rtol=1e-6, atol=1e-9)
        assert int((~equal).sum()) <= (4 if name in ("clip_cov", "kl_cov") else 0)


def test_the_average_over_micro_batches_would_give_other_weights():
    """Why `geo_mean` is refused: the same rows in other micro-batches."""
    rewards, _, lengths = batch(seed=0)
    whole, thirds = (token_gradients("token-mean", rewards, lengths, cut, policy_loss="geo_mean") for cut in (1, 3))
    ratio = (thirds.sum(1) / whole.sum(1))[rewards > 0]
    assert float(ratio.min()) == pytest.approx(16 / 6)  # 16 rows are cut into 6, 6 and 4
    assert float(ratio.max()) == pytest.approx(16 / 4)


@given(
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    per_step=st.sampled_from([4, 8, 16]),
    mode=st.sampled_from([mode for mode in LOSS_MODES if mode != "token-mean"]),
    seed=st.integers(0, 100),
)
def test_an_optimiser_step_weighs_one_on_average_however_many_rows_are_kept(counts, per_step, mode, seed):
    """The steps of a batch together are their number times the analysed gradient: rows may be dropped or missing."""
    generator = torch.Generator().manual_seed(seed)
    uids = [str(prompt) for prompt, count in enumerate(counts) for _ in range(count)]
    steps = math.ceil(len(uids) / per_step)
    uids += [f"pad{row}" for row in range(steps * per_step - len(uids))]
    order = torch.randperm(len(uids), generator=generator).tolist()
    uids = [uids[row] for row in order]
    rewards = torch.randint(0, 2, (len(uids),), generator=generator).double()
    lengths = torch.randint(1, 9, (len(uids),), generator=generator)
    lengths[[row for row, uid in enumerate(uids) if uid.startswith("pad")]] = 0
    advantages = verls_advantages(mode, per_step, rewards, uids, len(counts))
    found = torch.cat(
        [
            token_gradients(mode, advantages[rows], lengths[rows], 2, nominal=per_step)
            for rows in torch.arange(len(uids)).chunk(steps)
        ]
    )
    wanted = steps * analysed(mode, rewards, uids, lengths, nominal=per_step)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def verls_advantages(mode, per_step, rewards, uids, num_prompts):
    """The advantages that verl gets from its registry for a padded batch, one number per row."""
    settings = settings_of(
        f"actor_rollout_ref.actor.loss_agg_mode={mode}", f"actor_rollout_ref.actor.ppo_mini_batch_size={per_step // 4}"
    )
    prediction = Prediction(torch.full((num_prompts,), 0.5), torch.zeros(num_prompts))
    names = [str(prompt) for prompt in range(num_prompts)]
    terms = UpdateTerms.of_batch(names, prediction, GradientVariance(), [(0.0, 1.0)] * num_prompts)
    session = SimpleNamespace(settings=settings, update_terms=terms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advantage, "current_session", lambda: session)
        mask = torch.ones(len(uids), 1)
        found, _ = get_adv_estimator_fn("vip_rloo")(rewards.unsqueeze(1), mask, index=uids)
    return found[:, 0].double()


@functools.cache
def composed():
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(
            "ppo_trainer",
            overrides=[
                "hydra.searchpath=[pkg://verl_vip.recipes]",
                "+vip=rloo",
                "data.train_batch_size=4",
                "actor_rollout_ref.actor.ppo_mini_batch_size=4",
                "actor_rollout_ref.rollout.n=4",
                f"actor_rollout_ref.actor.loss_scale_factor={SCALE}",
            ],
        )


@functools.cache
def settings_of(*overrides):
    return RunSettings.from_verl(OmegaConf.merge(composed(), OmegaConf.from_dotlist(list(overrides))))


def test_without_a_scale_the_weights_would_follow_the_micro_batches():
    """Why `loss_scale_factor` is demanded: shown on verl's own aggregation."""
    from verl.trainer.ppo.core_algos import agg_loss

    def weight_of_the_first_row(width):
        loss = torch.ones(2, width, requires_grad=True)
        mask = torch.ones(2, width)
        mask[0, 2:] = 0
        agg_loss(loss, mask, "seq-mean-token-sum-norm", global_batch_size=2).backward()
        return float(loss.grad[0, 0])

    assert weight_of_the_first_row(8) == pytest.approx(weight_of_the_first_row(4) / 2)


def test_estimators_that_are_called_starved_are():
    source = inspect.getsource(PPOTrainer._compute_advantage) + inspect.getsource(compute_advantage)
    fetched = re.search(r"fields = \[(.*?)\]", source)[1]
    for name, needed in {"remax": "reward_baselines", "optimal_token_baseline": "sum_pi_squared"}.items():
        assert f'"{needed}"' in source
        assert f'"{needed}"' not in fetched
        assert needed in inspect.signature(get_adv_estimator_fn(name)).parameters
    assert "non_tensor_batch" in inspect.signature(get_adv_estimator_fn("gdpo")).parameters


def test_verl_has_no_other_loss_mode():
    source = inspect.getsource(ActorConfig.__post_init__)
    listed = re.search(r"valid_loss_agg_modes = \[(.*?)\]", source, flags=re.DOTALL)
    assert listed is not None
    assert sorted(re.findall(r'"([\w-]+)"', listed[1])) == sorted(LOSS_MODES)


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (["actor_rollout_ref.actor.loss_agg_mode=token-mean"], "the step shrinks as the mean response length grows"),
        (["algorithm.adv_estimator=grpo"], "algorithm.adv_estimator=grpo is verl's own"),
        (["algorithm.adv_estimator=vip_krpo"], "the variance of vip_krpo is not known"),
        (["actor_rollout_ref.actor.use_kl_loss=True"], "KL and entropy losses weight rows equally"),
        (["algorithm.use_kl_in_reward=True"], "without the KL penalty"),
        (["actor_rollout_ref.actor.ppo_mini_batch_size=2"], "2 optimiser steps per batch"),
    ],
)
def test_what_changes_the_analysis_is_told(overrides, note):
    plain = ["actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean"]
    assert settings_of(*plain).notes == ()
    (found,) = settings_of(*plain, *overrides).notes
    assert note in found


def test_several_steps_with_token_mean_say_that_weights_depend_on_the_step():
    several = ["actor_rollout_ref.actor.loss_agg_mode=token-mean", "actor_rollout_ref.actor.ppo_mini_batch_size=2"]
    found = " ".join(settings_of(*several).notes)
    assert "a prompt's weight depends on the rows it shares a step with" in found


@pytest.mark.parametrize(
    ("estimator", "objective"),
    [
        ("vip_rloo", "rloo"),
        ("vip_dr_grpo", "dr_grpo"),
        ("vip_predicted_baseline", "predicted_baseline"),
        ("vip_reinforce", "predicted_baseline"),
        ("vip_max_rl", "rloo"),
        ("grpo", "rloo"),
    ],
)
def test_the_objective_follows_the_estimator_and_the_records_show_it(estimator, objective):
    settings = settings_of(f"algorithm.adv_estimator={estimator}")
    assert settings.estimator == estimator
    assert settings.vip.objective == settings.plain["vip"]["objective"] == objective
    assert decisive_config(settings.config)["vip.objective"] == objective


def test_an_objective_that_is_set_stays_and_is_the_same_setting_as_one_that_follows():
    assert settings_of("algorithm.adv_estimator=grpo", "vip.objective=dr_grpo").vip.objective == "dr_grpo"
    named, followed = settings_of("vip.objective=rloo"), settings_of()
    assert named.vip == followed.vip
    assert decisive_config(named.config) == decisive_config(followed.config)
