"""Skipping at random the prompts whose last groups carried no signal (GRESO, arXiv 2506.02177)."""

from collections.abc import Mapping
from typing import Any

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Count, Share, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.outcomes import Outcomes, has_signal, keep_groups, reward_means
from verl_vip.strategies.state import counts_by_prompt, pack, restored_generator, seeded_generator, unpack

#: Change of a probability in one step, and the bounds of the probabilities.
_STEP, _LEAST, _MOST = 0.01, 0.05, 0.95
#: Least probability of sampling a prompt.
_VISIT = 0.01


class Greso(Stateless):
    """Samples a prompt with probability `max(q^z, 0.01)`, where z is the number of its last groups without signal.

    There is one q for prompts whose last groups were all correct (easy) and one for all wrong (hard). Once prompts come
    up again, q falls in a step in which at least the target share of groups is of its kind, and rises otherwise. Groups
    without signal are dropped after sampling. There are 1.5 candidates for each prompt of the batch, 384 for 256 in the
    paper. If too many candidates are skipped, a step spends less than the budget.

    Args:
        group_size: Rollouts of a prompt.
        easy_share: Target share of all-correct groups.
        hard_share: Target share of all-wrong groups.
        seed: Seed of the draws.
    """

    pool_ratio = 1.5

    @checked_settings
    def __init__(
        self, group_size: Count = 8, easy_share: Share = 0.25 / 3, hard_share: Share = 0.5 / 3, seed: int = 0
    ) -> None:
        self.group_size = group_size
        self._shares = {"easy": easy_share, "hard": hard_share}
        self._visit = {"easy": 0.5, "hard": 0.5}
        self._runs: dict[str, int] = {}  # positive: all-correct groups in a row; negative: all-wrong
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield one round for the candidates that are not skipped, then drop groups."""
        groups, size = affordable_groups(budget, self.group_size, len(prompts))
        draws = torch.rand(len(prompts), generator=self._generator, dtype=torch.float64).tolist()
        visited = [row for row, name in enumerate(prompts.ids) if draws[row] < self._visit_probability(name)]
        visited = visited[:groups]
        returning = any(prompts.ids[row] in self._runs for row in visited)
        outcomes = yield same_counts(len(prompts), visited, size)
        signal = has_signal(outcomes)
        self._remember(prompts, visited, outcomes, returning)
        return Selection(keep=keep_groups(outcomes, signal))

    def _visit_probability(self, name: str) -> float:
        run = self._runs.get(name, 0)
        return max(self._visit["easy" if run > 0 else "hard"] ** abs(run), _VISIT)

    def _remember(self, prompts: Prompts, visited: list[int], outcomes: Outcomes, returning: bool) -> None:
        rates, signal = reward_means(outcomes), has_signal(outcomes)
        visited = [row for row in visited if len(outcomes[row])]  # a prompt without a scored rollout tells nothing
        seen = {"easy": 0, "hard": 0}
        for row in visited:
            name = prompts.ids[row]
            if signal[row]:
                self._runs[name] = 0
                continue
            kind, sign = ("easy", 1) if rates[row] > 0.5 else ("hard", -1)
            seen[kind] += 1
            self._runs[name] = sign * (max(sign * self._runs.get(name, 0), 0) + 1)
        if returning:
            for kind, number in seen.items():
                move = -_STEP if number >= self._shares[kind] * len(visited) else _STEP
                self._visit[kind] = min(max(self._visit[kind] + move, _LEAST), _MOST)

    def state_dict(self) -> dict[str, Any]:
        """Return runs, probabilities and the generator's state."""
        return pack("greso", runs=dict(self._runs), visit=dict(self._visit), generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "greso", "runs", "visit", "generator") as values:
            runs = counts_by_prompt(values["runs"])
            visit = {kind: float(values["visit"][kind]) for kind in self._visit}
            if not all(_LEAST <= probability <= _MOST for probability in visit.values()):
                raise ValueError("a probability of a visit is out of its bounds")
            generator = restored_generator(values["generator"])
        self._runs, self._visit, self._generator = runs, visit, generator
