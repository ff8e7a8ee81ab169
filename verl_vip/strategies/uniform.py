"""The same number of rollouts for every prompt, as stock verl has it."""

import torch

from verl_vip.prediction.predictor import Prediction, Prompts
from verl_vip.strategies.strategy import Budget, Rounds, Selection


class Uniform:
    """Spreads the budget evenly; what does not divide goes to the first prompts, one each."""

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield even counts once; see `Strategy.rounds`."""
        budget.require_feasible(len(prompts))
        share, rest = divmod(budget.total, len(prompts))
        counts = torch.full((len(prompts),), share, dtype=torch.int64)
        counts[:rest] += 1
        yield counts
        return Selection()
