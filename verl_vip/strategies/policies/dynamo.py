"""Rollouts in proportion to the Bernoulli variance (DynaMO, arXiv 2602.19208)."""

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Share, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.policies.reciprocal import proportional_counts


class Dynamo(Stateless):
    """Counts in proportion to `max(4 p (1-p), 0.01)`, between 0.5 and 1.5 times the mean count.

    This follows the released code; the paper says "in proportion to the standard deviation". Prompts with p of at least
    `solved_from` get the smallest share. The code's bounds are 8 and 24, around a mean of 16. It updates p once an
    epoch; here p is predicted.

    Args:
        solved_from: Success probability from which a prompt counts as solved.
    """

    decides_beforehand = True

    @checked_settings
    def __init__(self, solved_from: Share = 0.85) -> None:
        self._solved_from = solved_from

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the counts in one round."""
        budget.require_feasible(len(prompts))
        p = prediction.mean
        shares = (4 * p * (1 - p)).clamp_min(0.01)
        shares = torch.where(p >= self._solved_from, 0.01, shares)
        half = -(-budget.total // (2 * len(prompts)))
        most = -(-3 * budget.total // (2 * len(prompts)))
        yield proportional_counts(shares, Budget(budget.total, max(budget.lower, half), min(budget.upper, most)))
        return Selection()
