"""Rounds of rollouts until a prompt has both outcomes (Reinforce-Ada, arXiv 2510.04996)."""

from typing import Literal

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection, Weighing
from verl_vip.annotations import Count, Share, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.outcomes import Outcomes, join


class ReinforceAda(Stateless):
    """Samples a round of rollouts of every active prompt, retires prompts with enough outcomes, and down-samples.

    The update uses `kept` rollouts of a prompt, half of them positive if there are enough. Advantages are centred on
    all rollouts that were sampled. The paper spends up to `max_rounds * round_size` rollouts on each prompt of the
    batch. Here the budget is hard. Half of it pays for the first round, so that prompts at the end of the batch may get
    none. The other half pays for later rounds, lowest index first. A step may spend less than the budget.

    Args:
        round_size: Rollouts of a prompt in one round.
        max_rounds: Largest number of rounds.
        kept: Rollouts of a prompt that the update uses.
        positive_above: A rollout is positive if its reward is larger than this.
        exit_rule: A prompt retires at one positive rollout ("positive"), or at `kept / 2` of each kind ("balanced").
    """

    weighs: frozenset[Weighing] = frozenset({"baseline"})

    @checked_settings
    def __init__(
        self,
        round_size: Count = 8,
        max_rounds: Count = 4,
        kept: Count = 4,
        positive_above: Share = 0.7,
        exit_rule: Literal["positive", "balanced"] = "balanced",
    ) -> None:
        self._round_size, self._max_rounds, self._kept = round_size, max_rounds, kept
        self._positive_above, self._exit_rule = positive_above, exit_rule

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield rounds until all prompts retire or the budget is spent."""
        groups, size = affordable_groups(budget, self._round_size, len(prompts))
        active = list(range(max(1, min(groups, budget.total // (2 * size)))))
        sampled: list[Outcomes] = []
        left = budget.total
        for _ in range(min(self._max_rounds, budget.upper // size)):
            active = active[: left // size]
            if not active:
                break
            sampled.append((yield same_counts(len(prompts), active, size)))
            left -= size * len(active)
            outcomes = join(sampled)
            active = [row for row in active if not self._retires(outcomes[row])]
        keep = tuple(self._down_sample(rewards) for rewards in join(sampled))
        return Selection(keep=keep, baseline="sampled")

    def _retires(self, rewards: Tensor) -> bool:
        positive = int((rewards > self._positive_above).sum())
        if self._exit_rule == "positive":
            return positive >= 1
        return min(positive, len(rewards) - positive) >= self._kept / 2

    def _down_sample(self, rewards: Tensor) -> Tensor:
        positive = rewards > self._positive_above
        wins, losses = int(positive.sum()), int((~positive).sum())
        half = self._kept // 2
        from_wins = min(wins, max(half, self._kept - losses))
        quota = torch.where(positive, from_wins, min(losses, self._kept - from_wins))
        rank = torch.where(positive, positive.cumsum(0), (~positive).cumsum(0))
        return rank <= quota
