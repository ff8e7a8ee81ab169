"""Pilot rollouts of each prompt, then further rollouts of the promising ones (Pilot-Commit, arXiv 2605.26606)."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Count, Range, Share, checked_settings
from verl_vip.errors import ConfigError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.outcomes import join, keep_groups, reward_means, reward_variances
from verl_vip.strategies.state import pack, unpack


class PilotCommit(Stateless):
    """Samples pilot rollouts of some candidates, then further rollouts of those neither too hard nor too easy.

    Prompts solved in every pilot rollout are excluded from the rest of the run, as in the released code. The thresholds
    and the ratio of pilot to further rollouts are those of its scripts, which use 32 and 96 or 16 and 48. The paper
    repeats rounds until the batch is full, and exceeds an even budget by half. Here the budget is hard: the number of
    pilots assumes that one prompt in three survives, and the rest of the budget goes to the survivors with the largest
    reward variance. Survivors are sampled further in the same step, because the paper's buffer of earlier pilots would
    make the update off-policy. A step may spend less than the budget.

    Args:
        pilot: Pilot rollouts of a candidate.
        commit: Further rollouts of a survivor.
        lowest: Least pilot success rate of a survivor.
        highest: Largest pilot success rate of a survivor.
        exclude_from: Pilot success rate from which a prompt is excluded from the run; above 1, none is.

    Raises:
        ConfigError: If a setting is out of range, or a survivor would be excluded.
    """

    pool_ratio = 3.0

    @checked_settings
    def __init__(
        self,
        pilot: Count = 4,
        commit: Annotated[int, Range(least=0)] = 12,
        lowest: Share = 0.125,
        highest: Share = 0.75,
        exclude_from: float = 1.0,
    ) -> None:
        if not lowest <= highest <= exclude_from:
            raise ConfigError(
                f"settings must satisfy lowest <= highest <= exclude_from; got {lowest}, {highest} and {exclude_from}."
            )
        self._pilot, self._commit = pilot, commit
        self.group_size = pilot + commit
        self._lowest, self._highest, self._exclude_from = lowest, highest, exclude_from
        self._excluded: set[str] = set()

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield the pilot rollouts, then those of the survivors."""
        size = len(prompts)
        affordable, pilot = affordable_groups(budget, self._pilot, size)
        commit = min(self._commit, budget.upper - pilot)
        eligible = [row for row, name in enumerate(prompts.ids) if name not in self._excluded]
        piloted = eligible[: min(affordable, max(1, budget.total // (pilot + commit // 3)))]
        sampled = [(yield same_counts(size, piloted, pilot))]
        rates, variances = reward_means(sampled[0]), reward_variances(sampled[0])
        self._excluded.update(prompts.ids[row] for row in piloted if rates[row] >= self._exclude_from)
        survivors = [row for row in piloted if self._lowest <= rates[row] <= self._highest]
        if commit > 0:
            affordable = (budget.total - pilot * len(piloted)) // commit
            survivors = sorted(survivors, key=lambda row: -float(variances[row]))[:affordable]
        if commit > 0 and survivors:
            sampled.append((yield same_counts(size, survivors, commit)))
        chosen = torch.zeros(size, dtype=torch.bool)
        chosen[survivors] = True
        return Selection(keep=keep_groups(join(sampled), chosen))

    def state_dict(self) -> dict[str, Any]:
        """Return the ids of the excluded prompts."""
        return pack("pilot_commit", excluded=sorted(self._excluded))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "pilot_commit", "excluded") as values:
            excluded = set(values["excluded"])
            if isinstance(values["excluded"], str) or not all(isinstance(name, str) for name in excluded):
                raise TypeError("excluded prompts are not named by text")
        self._excluded = excluded
