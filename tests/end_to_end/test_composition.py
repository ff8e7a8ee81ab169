"""What verl offers beside plain policy gradients, all at once, through our hooks."""

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(2400)]

BUDGET = 8 * 8
OVERRIDES = [
    # a baseline that knows the KL penalty
    "vip=predicted_baseline",
    "vip.lower=1",
    "vip.upper=16",
    "vip.utility=sqrt_success",
    # a KL penalty in the reward and one in the loss
    "algorithm.use_kl_in_reward=True",
    "actor_rollout_ref.actor.use_kl_loss=True",
    # micro-batches by tokens
    "actor_rollout_ref.actor.use_dynamic_bsz=True",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=1024",
    "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=True",
    "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=1024",
    "actor_rollout_ref.ref.log_prob_use_dynamic_bsz=True",
    "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu=1024",
    # corrections for the rollout engine's own probabilities
    "actor_rollout_ref.rollout.calculate_log_probs=True",
    "algorithm.rollout_correction.rollout_is=token",
    "algorithm.rollout_correction.rollout_rs=seq_mean_k1",
    "algorithm.rollout_correction.rollout_rs_threshold=0.5_2.0",
    # low-rank adapters
    "actor_rollout_ref.model.lora_rank=4",
    "actor_rollout_ref.model.lora_alpha=8",
    "actor_rollout_ref.rollout.load_format=safetensors",
    "trainer.total_training_steps=3",
    "trainer.save_freq=-1",
    "trainer.test_freq=2",
]


def test_kl_dynamic_batches_lora_and_rollout_correction_train_together(launcher):
    run = launcher.run("composed", *OVERRIDES)
    steps = run.records.steps
    assert [step.step for step in steps] == [1, 2, 3]
    for step in steps:
        assert step.requested == step.observed
        assert sum(step.observed) == BUDGET
    assert any(len(set(step.requested)) > 1 for step in steps), "the groups were all equal"
    assert [check.step for check in run.records.validations] == [0, 2, 3]
    last = next(line for line in run.text.splitlines() if "step:3 - " in line)
    for metric in ("actor/reward_kl_penalty:", "actor/kl_loss:", "rollout_corr/"):
        assert metric in last
