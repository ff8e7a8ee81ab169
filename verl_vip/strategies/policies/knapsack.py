"""Rollouts where a group is likely to carry signal on a hard prompt (Knapsack RL, arXiv 2509.25849)."""

import math
from typing import Annotated

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.allocation.exact import exact_counts, level
from verl_vip.allocation.values import KnapsackValue
from verl_vip.annotations import Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless


class Knapsack(Stateless):
    """Maximises the summed value `(1 - p^n - (1-p)^n) p (1-p)^2` exactly, at the predicted p.

    A prompt has enough rollouts when its group carries signal with probability `confidence`. If all prompts have
    enough, the surplus goes evenly to the prompts with p = 0, and then to the others. The paper takes p from the
    prompt's last visit, as predictor "last_seen" does; its rule for prompts sampled fewer than eight times is left to
    the predictor. The paper's bounds are 2 and 128. The value is concave, so the marginal gains used here find the same
    optimum as the paper's dynamic program.

    Args:
        confidence: Probability of signal at which a prompt has enough rollouts, in (0, 1).
    """

    decides_beforehand = True

    @checked_settings
    def __init__(self, confidence: Annotated[float, Range(above=0, below=1)] = 0.9) -> None:
        self._confidence = confidence

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the optimal counts in one round."""
        budget.require_feasible(len(prompts))
        p = prediction.mean.to(torch.float64)
        certain = (p <= 0) | (p >= 1)
        enough = math.log(1 - self._confidence) / torch.maximum(p, 1 - p).clamp(1e-9, 1 - 1e-9).log()
        demand = enough.ceil().clamp(budget.lower, budget.upper).to(torch.int64)
        demand[certain] = budget.lower
        objective = KnapsackValue(p)
        lower = torch.full_like(demand, budget.lower).numpy()
        upper = torch.full_like(demand, budget.upper).numpy()
        if int(demand.sum()) >= budget.total:
            counts = exact_counts(objective, budget.total, lower, upper)
        else:
            unsolved = torch.where(p <= 0, budget.upper, demand).numpy()
            surplus = min(budget.total, int(unsolved.sum()))
            counts = level(level(demand.numpy(), surplus, unsolved), budget.total, upper)
        yield torch.from_numpy(counts)
        return Selection()
