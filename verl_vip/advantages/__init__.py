"""Advantages of rollouts in prompt groups of unequal size. Pure torch, independent of any trainer."""

from verl_vip.advantages.grouped_rewards import GroupedRewards

__all__ = ["GroupedRewards"]
