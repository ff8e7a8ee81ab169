"""A few rollouts to look at each prompt, the rest for those worth it (Pilot-Commit, arXiv 2605.26606)."""

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
    """Pilots some candidates, commits further rollouts to those neither too hard nor too easy, forgets the rest.

    Prompts solved in every pilot rollout are excluded for good, as in the released code. Thresholds and the ratio
    of pilot to commit are those of its scripts, which use 32 and 96 or 16 and 48 rollouts. The paper repeats
    rounds until the batch is full and exceeds an even budget by half; here the budget is hard. It buys pilots on
    the expectation that one prompt in three survives, and commits to the survivors of the largest reward variance
    that it can pay for. Survivors are committed in the same step: the paper's buffer of earlier pilots would make
    the update off-policy. It may spend less than the budget.

    Args:
        pilot: Rollouts of every candidate.
        commit: Further rollouts of a survivor.
        lowest: Least pilot success rate of a survivor.
        highest: Largest pilot success rate of a survivor.
        exclude_from: Pilot success rate from which a prompt is excluded; above 1 for none.

    Raises:
        ConfigError: If a setting is out of range, or a prompt would be excluded that survives.
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
                f"lowest, highest and exclude_from must not fall; got {lowest}, {highest} and {exclude_from}."
            )
        self._pilot, self._commit = pilot, commit
        self._lowest, self._highest, self._exclude_from = lowest, highest, exclude_from
        self._excluded: set[str] = set()

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield the pilot, then the commit; see `Strategy.rounds`."""
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
        """Return the ids of the excluded prompts; see `Strategy.state_dict`."""
        return pack("pilot_commit", excluded=sorted(self._excluded))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value; see `Strategy.load_state_dict`."""
        with unpack(state, "pilot_commit", "excluded") as values:
            excluded = set(values["excluded"])
            if isinstance(values["excluded"], str) or not all(isinstance(name, str) for name in excluded):
                raise TypeError("excluded prompts are not named by text")
        self._excluded = excluded
