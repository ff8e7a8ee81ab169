"""verl's own KL penalty and rollout correction, then our estimators, on one batch as its trainer puts them together.

The steps are those of `PPOTrainer._compute_advantage`, without TransferQueue.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.ppo.core_algos import FixedKLController
from verl.trainer.ppo.ray_trainer import apply_kl_penalty
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

from verl_vip.config import VipConfig
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.workers import advantage
from verl_vip.workers.session.update_terms import UpdateTerms

UIDS = ["a", "b", "b", "c", "c", "c", "c", "c", "pad1", "pad2"]
NAMES = ["a", "b", "c"]
MEAN = torch.tensor([0.2, 0.5, 0.8])
STRENGTH = 4.0
BETA = 0.1
WIDTH = 6


def verls_batch():
    """Ten rows of up to six tokens, two of them padding, with the log-probabilities of three policies."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor([2, 3, 6, 1, 4, 5, 2, 6, 1, 1])
    mask = (torch.arange(WIDTH) < lengths.unsqueeze(1)).long()
    mask[8:] = 0
    scores = torch.zeros(10, WIDTH)
    solved = torch.tensor([1.0, 0, 1, 0, 1, 1, 0, 1, 0, 0])
    scores[torch.arange(10), lengths - 1] = solved
    old = -torch.rand(10, WIDTH, generator=generator)
    batch = {
        "response_mask": mask,
        "token_level_scores": scores,
        "old_log_probs": old,
        "ref_log_prob": old - 0.3 * torch.rand(10, WIDTH, generator=generator),
        "rollout_log_probs": old + 0.1 * torch.randn(10, WIDTH, generator=generator),
    }
    data = DataProto(batch=TensorDict(batch, batch_size=10))
    data.non_tensor_batch["uid"] = np.array(UIDS, dtype=object)
    return data


def through_verl(monkeypatch, estimator, *, kl=True, correction=None):
    variance = GradientVariance("predicted_baseline", strength_cap=STRENGTH)
    session = SimpleNamespace(
        settings=SimpleNamespace(vip=VipConfig(prompt_weight="rows"), kl_in_reward=kl, divides_by_tokens=False),
        update_terms=UpdateTerms.of_batch(NAMES, Prediction(MEAN, torch.zeros(3)), variance, [(0.0, 1.0)] * 3),
    )
    monkeypatch.setattr(advantage, "current_session", lambda: session)
    data = verls_batch()
    data.batch["token_level_rewards"] = data.batch["token_level_scores"]
    if kl:
        data, _ = apply_kl_penalty(data, FixedKLController(BETA), kl_penalty="kl")
    if correction is not None:
        data, _ = compute_rollout_correction_and_add_to_batch(data, OmegaConf.create(correction))
    config = OmegaConf.create({})
    keys = [f"{uid}_{row}_0" for row, uid in enumerate(UIDS)]
    return compute_advantage_for_multi_trajectories(data, keys, f"vip_{estimator}", num_repeat=4, config=config)


def test_a_kl_penalty_in_the_reward_moves_the_predicted_baseline_with_it(monkeypatch):
    found = through_verl(monkeypatch, "predicted_baseline")
    rewards = found.batch["token_level_rewards"].sum(1)[:8].double()
    penalty = found.batch["token_level_scores"].sum(1)[:8] - rewards
    assert penalty.mean() > 0.02
    prior = torch.tensor([float(MEAN[NAMES.index(uid)]) for uid in UIDS[:8]]).double()
    for row, uid in enumerate(UIDS[:8]):
        rest = [other for other in range(8) if other != row]
        shift = sum(float(rewards[other] - prior[other]) for other in rest) / 7
        group = [float(rewards[other]) for other in rest if UIDS[other] == uid]
        baseline = (STRENGTH * (float(prior[row]) + shift) + sum(group)) / (STRENGTH + len(group))
        assert float(found.batch["advantages"][row, 0]) == pytest.approx(float(rewards[row]) - baseline, abs=1e-5)
    assert found.batch["advantages"][8:].abs().sum() == 0


def test_without_a_penalty_the_prior_stays_where_it_was_predicted(monkeypatch):
    found = through_verl(monkeypatch, "predicted_baseline", kl=False)
    # prompt a: one rollout, solved, predicted at 0.2
    torch.testing.assert_close(found.batch["advantages"][0, :2], torch.tensor([0.8, 0.8]))


@pytest.mark.parametrize("estimator", ["rloo", "predicted_baseline", "krpo"])
def test_rollout_correction_leaves_advantages_and_masks_what_it_rejects(monkeypatch, estimator):
    plain = through_verl(monkeypatch, estimator).batch["advantages"]
    correction = {
        "rollout_is": "token",
        "rollout_is_threshold": 2.0,
        "rollout_rs": "seq_mean_k1",
        "rollout_rs_threshold": "0.98_1.02",
    }
    corrected = through_verl(monkeypatch, estimator, correction=correction).batch
    kept = corrected["response_mask"].bool()
    rejected = verls_batch().batch["response_mask"].bool() & ~kept
    assert kept.any()
    assert rejected.any()
    # a rejected rollout takes no part in the update and stays in its group's size and baseline
    torch.testing.assert_close(corrected["advantages"], plain * kept)
    assert "rollout_is_weights" in corrected.keys()  # noqa: SIM118
