"""REINFORCE without a baseline (Williams 1992)."""

from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards


def reinforce(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages r - low, what a reward is above the worst one; unbiased at every count, one included.

    Nothing is ever pushed down. Where answers are short this has less variance than a baseline of p, because what a
    policy nearly always does has a small score (`least_variance_baseline` has the formula), and small steps can be
    taken safely.
    """
    return batch.rewards - batch.low
