"""A budget for the whole run, controlled by a price (CERO, arXiv 2606.05606)."""

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
    """Gives a group to each prompt whose next group is worth more than the price, in order of worth.

    Over the run, z rollouts of a prompt have utility `1 - exp(-4 E[p(1-p)] z / saturation)`. Rollouts already spent on
    a prompt therefore lower the worth of its next group (the prompt-level dual). The price is the budget-level dual.
    Projected gradient descent moves it by `1/sqrt(steps)` times the relative excess of demand over the budget, so that
    the run spends its budget evenly in the long run. The unit of the price is the worth of a first group at p = 1/2.

    Groups of 8 and 500 steps are the paper's values; the saturation and the pool are chosen here. The paper's run may
    exceed the budget of a step. Here each step's budget is hard, the run's budget is their sum, and a step may spend
    less. The paper's predictor is "beta_table".

    Args:
        group_size: Rollouts of a group.
        steps: Steps of the run.
        saturation: Rollouts after which a prompt of medium difficulty has given most of its utility.
    """

    pool_ratio = 2.0

    @checked_settings
    def __init__(self, group_size: Count = 8, steps: Count = 500, saturation: Count = 64) -> None:
        self.group_size, self._saturation = group_size, saturation
        self._step_size = 1 / math.sqrt(steps)
        self._price = 0.0
        self._spent: dict[str, int] = {}

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield one round: a group for each prompt that is worth the price."""
        groups, size = affordable_groups(budget, self.group_size, len(prompts))
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
        """Return the price and the rollouts spent on each prompt."""
        return pack("cero", price=self._price, spent=dict(self._spent))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "cero", "price", "spent") as values:
            price, spent = float(values["price"]), counts_by_prompt(values["spent"])
            if not 0 <= price < math.inf or not all(count >= 0 for count in spent.values()):
                raise ValueError("a price or the amount spent is negative")
        self._price, self._spent = price, spent
