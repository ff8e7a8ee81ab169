"""MaxRL: the group's mean as baseline and as divisor (Tajwar et al., arXiv 2602.02710)."""

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards


def max_rl(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages (r - m) / m with m the mean share of success in the group; zero where m <= 0.

    Its expected gradient is that of a truncated series of log p, weight (1 - (1 - p)^(n - 1)) / p on the gradient
    of p, so that under unequal counts each prompt ascends another objective. The weight 1/p from the *predicted* p
    (`verl_vip.advantages.utility`, "log_success") does not.
    """
    mean = (batch.sampled_mean - batch.low) / batch.width
    return torch.where(mean > 0, (batch.shares - mean) / mean.clamp_min(torch.finfo(mean.dtype).tiny), 0.0)
