"""MaxRL: the group mean as baseline and as divisor (Tajwar et al., arXiv 2602.02710)."""

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards

#: A smaller mean success is rounding error: in float64, three rewards of 0.1 have a mean above 0.1.
NO_SUCCESS = 1e-9


def max_rl(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages (r - m) / m, where m is the mean success of the group; zero if m < `NO_SUCCESS`.

    Their expected gradient is that of a truncated series of log p, in which the gradient of p has the weight
    (1 - (1 - p)^(n - 1)) / p. With unequal counts, each prompt therefore has a different objective. The weight 1/p of
    the *predicted* p (`verl_vip.advantages.utility`, "log_success") does not depend on the count.
    """
    mean = (batch.sampled_mean - batch.low) / batch.width
    return torch.where(mean >= NO_SUCCESS, (batch.shares - mean) / mean.clamp_min(NO_SUCCESS), 0.0)
