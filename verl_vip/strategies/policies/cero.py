"""A budget for the whole run, steered by its price (CERO, arXiv 2606.05606)."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Count, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.state import counts_by_prompt, pack, unpack


class Cero(Stateless):
    """Serves the prompts whose next group is worth more than its price, the most valuable first.

    Over the run, z rollouts of a prompt have utility `1 - exp(-4 E[p(1-p)] z / saturation)`, so that what was
    spent on it before lowers the worth of its next group: the prompt-level dual. The price, the budget-level dual,
    moves by `1/sqrt(steps)` times the demand's relative excess, by projected gradient descent, so that the run
    spends its budget evenly in the long run. Its unit is the worth of a first group at p = 1/2.

    Fixed groups of 8 and 500 steps are the paper's; how fast utility saturates and the pool are chosen here. The
    paper's run may overdraw a step; here each step's budget is hard, and that of the run is its sum. It may spend
    less. The paper's belief is predictor "beta_table".

    Args:
        group_size: Rollouts of a group.
        steps: Steps of the run.
        saturation: Rollouts over which a prompt of medium difficulty loses most of its utility.
    """

    pool_ratio = 2.0

    @checked_settings
    def __init__(self, group_size: Count = 8, steps: Count = 500, saturation: Count = 64) -> None:
        self._group_size, self._saturation = group_size, saturation
        self._step_size = 1 / math.sqrt(steps)
        self._price = 0.0
        self._spent: dict[str, int] = {}

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield groups for the prompts that are worth it once; see `Strategy.rounds`."""
        groups, size = affordable_groups(budget, self._group_size, len(prompts))
        spent = torch.tensor([self._spent.get(name, 0) for name in prompts.ids], dtype=torch.float64)
        rate = 4 * prediction.reward_variance.to(torch.float64) / self._saturation
        worth = torch.exp(-rate * spent) * torch.expm1(-rate * size) / math.expm1(-size / self._saturation)
        order = torch.argsort(worth, descending=True, stable=True)
        demanded = order[worth[order] > self._price].tolist()
        served = demanded[:groups]
        yield same_counts(len(prompts), served, size)
        for row in served:
            self._spent[prompts.ids[row]] = self._spent.get(prompts.ids[row], 0) + size
        excess = len(demanded) * size / budget.total - 1
        self._price = max(self._price + self._step_size * excess, 0.0)
        return Selection()

    def state_dict(self) -> dict[str, Any]:
        """Return the price and what each prompt has had; see `Strategy.state_dict`."""
        return pack("cero", price=self._price, spent=dict(self._spent))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value; see `Strategy.load_state_dict`."""
        with unpack(state, "cero", "price", "spent") as values:
            price, spent = float(values["price"]), counts_by_prompt(values["spent"])
            if not 0 <= price < math.inf or not all(count >= 0 for count in spent.values()):
                raise ValueError("a price or what was spent is below zero")
        self._price, self._spent = price, spent
