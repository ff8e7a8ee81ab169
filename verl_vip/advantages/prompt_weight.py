"""The weight of each prompt in the update."""

from typing import Literal

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards

PromptWeight = Literal["equal", "rows"]


def row_factors(batch: GroupedRewards, prompt_weight: PromptWeight, rows: int | None = None) -> Tensor:
    """Return the `N` factors that give every prompt with rollouts its intended weight in a mean over rows.

    A trainer's loss gives every row the weight 1/rows, so that a prompt with more rollouts has a larger weight. The
    analysis (arXiv 2602.01601) gives every prompt the same weight. "equal" therefore multiplies each row by the mean
    count divided by its prompt's count.

    Args:
        batch: The grouped rewards.
        prompt_weight: "equal", or "rows" for factors of one.
        rows: The number of rows that the loss divides by; None means `N`.
    """
    if prompt_weight == "rows":
        return torch.ones_like(batch.rewards)
    present = int((batch.sizes > 0).sum())
    total = len(batch.rewards) if rows is None else rows
    return total / max(present, 1) / batch.own_size
