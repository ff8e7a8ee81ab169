"""Rollouts for rejection sampling with minimum gradient variance (GVM, arXiv 2505.02391)."""

from typing import Annotated

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.policies.reciprocal import proportional_counts


class Gvm(Stateless):
    """Counts in proportion to `G / sqrt(p + alpha / p^(beta - 1))`, with gradient norm G = 1 for every prompt.

    The paper measures G and p in a separate sampling stage. Here p is predicted and G is equal for all prompts, which
    VIP assumes too. Prompts with p = 0 get the lower bound.

    Args:
        alpha: Regularisation against rare successes.
        beta: Exponent of the regularisation.
    """

    decides_beforehand = True

    @checked_settings
    def __init__(
        self,
        alpha: Annotated[float, Range(least=0, most=1e6)] = 1e-3,
        beta: Annotated[float, Range(least=0, most=10)] = 2.0,
    ) -> None:
        self._alpha, self._beta = alpha, beta

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the counts in one round."""
        budget.require_feasible(len(prompts))
        p = prediction.mean.to(torch.float64)
        positive = p.clamp_min(1e-12)
        shares = (positive + self._alpha / positive ** (self._beta - 1)).rsqrt()
        yield proportional_counts(torch.where(p > 0, shares, 0.0), budget)
        return Selection()
