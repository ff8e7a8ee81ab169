"""Further rollouts for hard prompts, by their measured difficulty (DARS, arXiv 2508.13755)."""

from typing import Literal

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection
from verl_vip.allocation.exact import level
from verl_vip.annotations import Count, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.outcomes import has_signal, join, keep_groups, reward_means


class Dars(Stateless):
    """Estimates each prompt's success rate, then equalises the summed size of advantages, or favours hard prompts.

    Let r be the success rate among the first N rollouts and S = 2r(1-r). A prompt with r below one half requests
    `(peak - N S) / S` further rollouts, with peak = N/2 ("equal") or 2(1-r) times that ("hard"). No success at all
    counts as r = 1/(2N). Groups without signal are dropped. The paper has N = 8 and at most 4N rollouts a prompt
    ("equal") or 8N ("hard"), at any cost. Here N = 4 leaves half of a mean of eight rollouts for the second stage, and
    requests that exceed the budget are cut to a common level. A step may spend less than the budget.

    Args:
        first_stage: Rollouts N of every prompt in the first stage, at most the budget's even share.
        schedule: "equal" or "hard".
    """

    @checked_settings
    def __init__(self, first_stage: Count = 4, schedule: Literal["equal", "hard"] = "equal") -> None:
        self._first_stage, self._schedule = first_stage, schedule

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield the first stage, then the further rollouts."""
        size = len(prompts)
        budget.require_feasible(size)
        first = min(max(self._first_stage, budget.lower), budget.total // size)
        sampled = [(yield torch.full((size,), first, dtype=torch.int64))]
        wished = self.further_rollouts(reward_means(sampled[0]), first).clamp_max(budget.upper - first)
        left = min(budget.total - first * size, int(wished.sum()))
        if left > 0:
            further = level(torch.zeros_like(wished).numpy(), left, wished.numpy())
            sampled.append((yield torch.from_numpy(further)))
        outcomes = join(sampled)
        return Selection(keep=keep_groups(outcomes, has_signal(outcomes)))

    def further_rollouts(self, rates: Tensor, first: int) -> Tensor:
        """Return how many further rollouts each prompt requests, before the budget is considered.

        Args:
            rates: A `B` tensor of success rates among the first rollouts.
            first: The number of first rollouts.

        Returns:
            A `B` int64 tensor.
        """
        rate = torch.where(rates > 0, rates, 0.5 / first)
        size = 2 * rate * (1 - rate)
        tilt = 2 * (1 - rate) if self._schedule == "hard" else torch.ones_like(rate)
        wished = ((tilt * 0.5 * first - first * size) / size.clamp_min(1e-12)).ceil()
        most = (4 if self._schedule == "equal" else 8) * first - first
        return torch.where(rate < 0.5, wished.clamp(0, most), 0.0).to(torch.int64)
