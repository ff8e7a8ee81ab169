"""Whole prompt groups: how many the budget pays for, and counts for some of the prompts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from verl_vip.errors import InfeasibleBudgetError
from verl_vip.strategies.contract import Budget


def affordable_groups(budget: Budget, group_size: int, num_prompts: int) -> tuple[int, int]:
    """Return how many groups the budget pays for, and their size.

    Args:
        budget: The step's budget; its bounds limit the size.
        group_size: Requested rollouts of one group; fewer if the budget is smaller.
        num_prompts: The number of prompts.

    Returns:
        The number of groups, at least one and at most `num_prompts`, and their size within the bounds.

    Raises:
        InfeasibleBudgetError: If the budget does not pay for one group.
    """
    size = max(min(group_size, budget.upper, budget.total), budget.lower)
    if num_prompts < 1 or size < 1 or budget.total < size:
        raise InfeasibleBudgetError(
            f"{budget.total} rollouts over {num_prompts} prompts do not pay for one group of {size}; "
            "raise the budget, or lower the group size or the lower bound."
        )
    return min(num_prompts, budget.total // size), size


def same_counts(num_prompts: int, rows: Sequence[int], count: int) -> Tensor:
    """Return a `B` int64 tensor with `count` for the given rows and zero for the others."""
    counts = torch.zeros(num_prompts, dtype=torch.int64)
    counts[list(rows)] = count
    return counts


def even_counts(num_prompts: int, rows: Sequence[int], total: int) -> Tensor:
    """Split `total` evenly over the given rows; the remainder of the division goes to the first of them, one each.

    Args:
        num_prompts: The length `B` of the result.
        rows: The prompts that get rollouts; not empty.
        total: The sum of the counts.

    Returns:
        A `B` int64 tensor, zero outside the rows.
    """
    share, rest = divmod(total, len(rows))
    counts = same_counts(num_prompts, rows, share)
    counts[list(rows[:rest])] += 1
    return counts
