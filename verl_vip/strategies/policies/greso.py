"""Skipping prompts whose last groups carried no signal, with a probability (GRESO, arXiv 2506.02177)."""

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

#: The probabilities move by this much a step, within these bounds.
_STEP, _LEAST, _MOST = 0.01, 0.05, 0.95
#: Even a prompt that never carried signal is visited with this probability.
_VISIT = 0.01


class Greso(Stateless):
    """Visits a prompt with probability `max(q^z, 0.01)`, z being its current run of groups without signal.

    q differs between runs of all-right (easy) and all-wrong (hard) groups. It falls when at least the wanted share
    of a step's groups is of that kind and rises otherwise, once prompts come back. Groups without signal are
    dropped after sampling. Candidates are half again as many as the batch, 384 for 256 in the paper. If too many
    are skipped it spends less than the budget.

    Args:
        group_size: Rollouts of a prompt.
        easy_share: Wanted share of all-right groups.
        hard_share: Wanted share of all-wrong groups.
        seed: Of the draws.
    """

    pool_ratio = 1.5

    @checked_settings
    def __init__(
        self, group_size: Count = 8, easy_share: Share = 0.25 / 3, hard_share: Share = 0.5 / 3, seed: int = 0
    ) -> None:
        self._group_size = group_size
        self._shares = {"easy": easy_share, "hard": hard_share}
        self._visit = {"easy": 0.5, "hard": 0.5}
        self._runs: dict[str, int] = {}  # above zero: that many all-right groups in a row; below: all-wrong
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield counts for the visited candidates once, then drop groups; see `Strategy.rounds`."""
        groups, size = affordable_groups(budget, self._group_size, len(prompts))
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
        visited = [row for row in visited if len(outcomes[row])]  # where all rollouts were lost nothing was learned
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
        """Return runs, probabilities and the generator's state; see `Strategy.state_dict`."""
        return pack("greso", runs=dict(self._runs), visit=dict(self._visit), generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value; see `Strategy.load_state_dict`."""
        with unpack(state, "greso", "runs", "visit", "generator") as values:
            runs = counts_by_prompt(values["runs"])
            visit = {kind: float(values["visit"][kind]) for kind in self._visit}
            if not all(_LEAST <= probability <= _MOST for probability in visit.values()):
                raise ValueError("a probability of a visit is out of its bounds")
            generator = restored_generator(values["generator"])
        self._runs, self._visit, self._generator = runs, visit, generator
