"""A probe of every prompt, then rollouts where a first success is most likely (HORA, arXiv 2605.07114)."""

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.allocation.allocate import allocate
from verl_vip.allocation.values import HoraValue
from verl_vip.annotations import Count, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.outcomes import reward_means


class Hora(Stateless):
    """Probes every prompt, then maximises the summed probability of a success among the further rollouts.

    After k successes in the probe, p ~ Beta(1 + k, 1 + probe - k). The further counts are the exact optimum; equal
    gains go to the lowest index. The paper does not state the probe's size; 4 is chosen here.

    Args:
        probe: Rollouts of a prompt in the probe, at most the budget's even share.
    """

    @checked_settings
    def __init__(self, probe: Count = 4) -> None:
        self._probe = probe

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield the probe, then the further rollouts."""
        size = len(prompts)
        budget.require_feasible(size)
        probe = min(max(self._probe, budget.lower), budget.total // size)
        outcomes = yield torch.full((size,), probe, dtype=torch.int64)
        left = budget.total - probe * size
        if left:
            successes = reward_means(outcomes) * probe
            objective = HoraValue(1 + successes, 1 + probe - successes)
            yield allocate(None, left, lower=0, upper=budget.upper - probe, objective=objective)
        return Selection()
