"""Down-sampling after generation to the rollouts with the largest reward variance (PODS, arXiv 2504.13818)."""

from typing import Annotated

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import even_counts


class Pods(Stateless):
    """Samples evenly and updates on the `kept` rollouts of each prompt with the largest reward variance.

    This saves the cost of the update, not rollouts. Advantages are centred on the kept rollouts, as in the paper.

    Args:
        kept: Rollouts of a prompt that the update uses. The paper's experiments use several values; half of a group of
            eight is chosen here.

    Raises:
        ConfigError: If `kept` is below 2, so that there is no variance.
    """

    @checked_settings
    def __init__(self, kept: Annotated[int, Range(least=2)] = 4) -> None:
        self._kept = kept

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield even counts in one round, then keep some rollouts."""
        budget.require_feasible(len(prompts))
        outcomes = yield even_counts(len(prompts), range(len(prompts)), budget.total)
        return Selection(keep=tuple(max_variance_subset(rewards, self._kept) for rewards in outcomes))


def max_variance_subset(rewards: Tensor, size: int) -> Tensor:
    """Choose the rollouts whose rewards have the largest variance.

    The best subset consists of the i largest and the size - i smallest rewards for some i (arXiv 2504.13818), so
    that sorting and prefix sums find it in O(n log n). Of subsets with equal variance, the one with the fewest large
    rewards is chosen; of rollouts with equal rewards, those sampled first.

    Args:
        rewards: An `n` tensor.
        size: How many rollouts to choose; all if there are fewer.

    Returns:
        An `n` boolean tensor with `min(size, n)` flags set.
    """
    size = min(size, len(rewards))
    order = torch.argsort(rewards, stable=True)
    ascending = rewards[order].to(torch.float64)
    zero = ascending.new_zeros(1)
    sums = torch.cat([zero, ascending.cumsum(0)])
    squares = torch.cat([zero, ascending.square().cumsum(0)])
    high = torch.arange(size + 1)
    low, rest = size - high, len(rewards) - high
    total = sums[low] + sums[-1] - sums[rest]
    variance = size * (squares[low] + squares[-1] - squares[rest]) - total.square()
    best = int((variance > variance.max() - 1e-12).nonzero()[0])
    keep = torch.zeros(len(rewards), dtype=torch.bool)
    keep[order[: size - best]] = True
    keep[order[len(rewards) - best :]] = True
    return keep
