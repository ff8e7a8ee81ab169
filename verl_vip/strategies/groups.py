"""Whole prompt groups: how many the budget buys, and counts that serve some prompts and leave out the others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from verl_vip.errors import InfeasibleBudgetError
from verl_vip.strategies.contract import Budget


def affordable_groups(budget: Budget, group_size: int, num_prompts: int) -> tuple[int, int]:
    """Say how many groups of a size the budget buys.

    Args:
        budget: Its bounds limit the size.
        group_size: Rollouts of one group, as wished; fewer if the budget is smaller.
        num_prompts: How many prompts there are to serve.

    Returns:
        The number of groups, at least one and at most `num_prompts`, and their size within the bounds.

    Raises:
        InfeasibleBudgetError: If the budget does not buy one group.
    """
    size = max(min(group_size, budget.upper, budget.total), budget.lower)
    if num_prompts < 1 or size < 1 or budget.total < size:
        raise InfeasibleBudgetError(
            f"{budget.total} rollouts over {num_prompts} prompts do not buy one group of {size}; "
            "raise the budget, or lower the group size or the lower bound."
        )
    return min(num_prompts, budget.total // size), size


def same_counts(num_prompts: int, rows: Sequence[int], count: int) -> Tensor:
    """Return a `B` int64 tensor with `count` for the given rows and zero for the others."""
    counts = torch.zeros(num_prompts, dtype=torch.int64)
    counts[list(rows)] = count
    return counts


def even_counts(num_prompts: int, rows: Sequence[int], total: int) -> Tensor:
    """Spread `total` evenly over the given rows; what does not divide goes to the first of them, one each.

    Args:
        num_prompts: The length `B` of the result.
        rows: The prompts served; not empty.
        total: What the counts sum to.

    Returns:
        A `B` int64 tensor, zero outside the rows.
    """
    share, rest = divmod(total, len(rows))
    counts = same_counts(num_prompts, rows, share)
    counts[list(rows[:rest])] += 1
    return counts
