"""MaxRL: the group mean as baseline and as divisor (Tajwar et al., arXiv 2602.02710)."""

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards


def max_rl(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages (r - m) / m, where m is the mean success of the group; zero if m <= 0.

    Their expected gradient is that of a truncated series of log p, in which the gradient of p has the weight
    (1 - (1 - p)^(n - 1)) / p. With unequal counts, each prompt therefore has a different objective. The weight 1/p of
    the *predicted* p (`verl_vip.advantages.utility`, "log_success") does not depend on the count.
    """
    mean = (batch.sampled_mean - batch.low) / batch.width
    return torch.where(mean > 0, (batch.shares - mean) / mean.clamp_min(torch.finfo(mean.dtype).tiny), 0.0)
