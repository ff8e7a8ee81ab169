"""The same number of rollouts for every prompt, as stock verl has it."""

from verl_vip.advantages.selection import Selection
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import even_counts


class Uniform(Stateless):
    """Spreads the budget evenly; what does not divide goes to the first prompts, one each."""

    decides_beforehand = True

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield even counts once; see `Strategy.rounds`."""
        budget.require_feasible(len(prompts))
        yield even_counts(len(prompts), range(len(prompts)), budget.total)
        return Selection()
