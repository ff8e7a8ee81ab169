"""The same number of rollouts for every prompt, as in stock verl."""

from verl_vip.advantages.selection import Selection
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import even_counts


class Uniform(Stateless):
    """Splits the budget evenly; the remainder of the division goes to the first prompts, one rollout each."""

    decides_beforehand = True

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield even counts in one round."""
        budget.require_feasible(len(prompts))
        yield even_counts(len(prompts), range(len(prompts)), budget.total)
        return Selection()
