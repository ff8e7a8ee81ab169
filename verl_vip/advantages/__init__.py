"""Advantages of rollouts grouped by prompt, for groups of unequal size. Pure torch; knows nothing of a trainer."""

from verl_vip.advantages.grouped_rewards import GroupedRewards

__all__ = ["GroupedRewards"]
