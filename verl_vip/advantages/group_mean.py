"""Estimators with a group mean as the baseline: RLOO and Dr.GRPO."""

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards


def dr_grpo(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages r - mean(r) over the group (Dr.GRPO, arXiv 2503.20783); a group of one gets zero.

    Their expected gradient is (n - 1)/n times the true gradient, so that unequal counts also give prompts unequal
    weights.
    """
    return batch.rewards - batch.sampled_mean


def rloo(batch: GroupedRewards) -> Tensor:
    """Return `N` unbiased advantages, r minus the mean of the group's other rewards (Kool et al. 2019).

    A group of one gets zero.
    """
    size = batch.sampled_sizes[batch.group]
    return dr_grpo(batch) * torch.where(size > 1, size / (size - 1).clamp_min(1), 0.0)
