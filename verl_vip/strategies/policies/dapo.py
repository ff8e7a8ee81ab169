"""Sampling until enough prompt groups carry signal (DAPO, arXiv 2503.14476)."""

from typing import Annotated

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Count, Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.outcomes import Outcomes, has_signal, join, keep_groups


class Dapo(Stateless):
    """Keeps the groups whose rewards differ, and replaces the other groups by those of further prompts.

    DAPO samples until the batch is full, at any cost. Here the budget is hard. The update needs `1 / oversampling` of
    the groups that the budget pays for; sampling ends once it has them, or once the budget is spent. A step may spend
    less than the budget.

    Args:
        group_size: Rollouts of a group.
        oversampling: Groups that the budget pays for, for each group that the update needs. Chosen here.
    """

    @checked_settings
    def __init__(self, group_size: Count = 8, oversampling: Annotated[float, Range(least=1)] = 2.0) -> None:
        self._group_size = group_size
        self._oversampling = oversampling

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield a first round of groups, then rounds of replacements."""
        groups, size = affordable_groups(budget, self._group_size, len(prompts))
        wanted = max(1, int(groups / self._oversampling))
        sampled: list[Outcomes] = []
        first, missing = 0, wanted
        while missing > 0 and first < groups:
            last = min(first + missing, groups)
            sampled.append((yield same_counts(len(prompts), range(first, last), size)))
            first = last
            missing = wanted - int(has_signal(join(sampled)).sum())
        outcomes = join(sampled)
        return Selection(keep=keep_groups(outcomes, has_signal(outcomes)))
