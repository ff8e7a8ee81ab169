"""A reward model with a vLLM server of its own decides what rollouts earn."""

from pathlib import Path

import pytest

from verl_vip.recipes.overrides import override

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(2400)]

BUDGET = 8 * 8


def test_rewards_of_a_separate_model_are_what_the_predictor_learns(launcher):
    run = launcher.run(
        "judged",
        override("reward.custom_reward_function.path", str(Path(__file__).with_name("judged_reward.py"))),
        "reward.custom_reward_function.name=compute_score",
        "reward.reward_model.enable=True",
        "reward.reward_model.enable_resource_pool=True",
        "reward.reward_model.n_gpus_per_node=1",
        "reward.reward_model.nnodes=1",
        override("reward.reward_model.model_path", str(launcher.folder / "model")),
        "reward.reward_model.rollout.name=vllm",
        "reward.reward_model.rollout.dtype=float32",
        "reward.reward_model.rollout.tensor_model_parallel_size=1",
        "reward.reward_model.rollout.free_cache_engine=False",
        "+reward.reward_model.rollout.enable_sleep_mode=False",  # vLLM cannot sleep on a CPU
        "reward.reward_model.rollout.max_model_len=80",
        "reward.reward_model.rollout.max_num_seqs=64",
        "ray_kwargs.ray_init.num_gpus=2",
        "trainer.total_training_steps=2",
        "trainer.save_freq=-1",
        "trainer.val_before_train=False",
    )
    steps = run.records.steps
    assert [step.step for step in steps] == [1, 2]
    for step in steps:
        assert step.requested == step.observed
        assert sum(step.observed) == step.budget == BUDGET
    earned = [won / tried for step in steps for won, tried in zip(step.successes, step.observed, strict=True)]
    assert 0 < sum(earned) < len(earned), "the judge never changed its mind"
    assert len(set(steps[1].predicted)) > 1
