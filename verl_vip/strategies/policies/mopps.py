"""Prompts of medium difficulty from a larger pool, by Thompson sampling (MoPPS, arXiv 2507.04632)."""

from collections.abc import Mapping
from typing import Any

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Count, Share, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import affordable_groups, even_counts
from verl_vip.strategies.policies.beta_draws import draw_success
from verl_vip.strategies.state import pack, restored_generator, seeded_generator, unpack


class Mopps(Stateless):
    """Draws a success probability for each candidate, and splits the budget evenly among those closest to `target`.

    The draw is from the Beta distribution with the predicted mean and variance; the paper's predictor is "beta_table".
    The pool is 16 times the batch, the paper's value for mathematics.

    Args:
        group_size: Rollouts of a prompt. The remainder of the division goes to the closest prompts, one each.
        target: The preferred success probability.
        seed: Seed of the draws.
    """

    pool_ratio = 16.0

    @checked_settings
    def __init__(self, group_size: Count = 8, target: Share = 0.5, seed: int = 0) -> None:
        self.group_size, self._target = group_size, target
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the counts of the chosen candidates in one round."""
        groups, _ = affordable_groups(budget, self.group_size, len(prompts))
        distance = (draw_success(prediction, self._generator) - self._target).abs()
        chosen = torch.argsort(distance, stable=True)[:groups].tolist()
        total = min(budget.total, groups * budget.upper)
        yield even_counts(len(prompts), chosen, total)
        return Selection()

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return pack("mopps", generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "mopps", "generator") as values:
            self._generator = restored_generator(values["generator"])
