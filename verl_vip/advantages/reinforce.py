"""REINFORCE without a baseline (Williams 1992)."""

from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards


def reinforce(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages r - low, the reward above that of a failure; unbiased at every count, including one.

    No advantage is negative. With short answers the variance is smaller than with a baseline of p, because the scores
    of likely answers are small (`least_variance_baseline` has the formula).
    """
    return batch.rewards - batch.low
