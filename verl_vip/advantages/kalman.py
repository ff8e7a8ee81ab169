"""KRPO: a scalar Kalman filter over the rewards of a group as a running baseline (arXiv 2505.07527)."""

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards

#: The settings in the authors' released train.py: the variances of the drift and the measurement of rewards. The filter
#: starts from reward 0 with variance 1.
PROCESS_VARIANCE = 1e-5
MEASUREMENT_VARIANCE = 1e-2
START_VARIANCE = 1.0


def krpo(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages (r - x) / sqrt(P), where x and P are the filter's mean and variance after the rollout.

    With the gain K, this equals (1 - K) / sqrt(P) times the difference between r and the mean *before* the rollout. The
    baseline is therefore made of the group's earlier rollouts, with a factor that depends only on the rollout's
    position. The factor grows with the square root of the position. Hence a prompt's weight grows with its count, and
    advantages do not sum to zero: among 8 rollouts, a single success gets about +24.5 in the last position and 0.1 in
    the first. The position must therefore be independent of the rollout. verl sorts rows by length, so each group is
    shuffled here, with the same permutation for all batches of one size. The filter skips unused rollouts. Rewards are
    scaled to [0, 1] first, for which the variances were chosen.
    """
    shuffled = torch.randperm(len(batch.rewards), generator=torch.Generator().manual_seed(0))
    rows = shuffled[torch.sort(batch.group[shuffled], stable=True).indices]
    starts = batch.sizes.long().cumsum(0) - batch.sizes.long()
    place = torch.arange(len(rows)) - starts[batch.group[rows]]
    by_place = rows[torch.sort(place, stable=True).indices]
    advantages = torch.zeros_like(batch.rewards)
    estimate = torch.zeros(batch.num_groups, dtype=torch.float64)
    variance = START_VARIANCE
    for here in torch.split(by_place, torch.bincount(place).tolist()):
        predicted = variance + PROCESS_VARIANCE
        gain = predicted / (predicted + MEASUREMENT_VARIANCE)
        variance = (1 - gain) * predicted
        group, share = batch.group[here], batch.shares[here]
        estimate[group] += gain * (share - estimate[group])
        advantages[here] = (share - estimate[group]) / (variance**0.5 + 1e-8)
    return advantages
