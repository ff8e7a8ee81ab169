"""Variance-minimising allocation from predicted success probabilities (VIP, arXiv 2602.01601)."""

from typing import Literal

from verl_vip.advantages.selection import Selection
from verl_vip.allocation.allocate import Method, allocate
from verl_vip.annotations import checked_settings
from verl_vip.config import EstimatorName
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.gradient_variance import GradientVariance


class Vip(Stateless):
    """Counts that minimise the summed gradient variance (Theorems 5.1 and 5.2) under the budget.

    Args:
        objective: The variance that is minimised, or the name of its advantage estimator.
        rounding: "exact" for the integer optimum, "paper" for the relaxed optimum rounded by Algorithm 2.
        uncertainty: "expected" weights a prompt by E[p(1-p)], which is smaller where p is uncertain; "plug_in" by
            m(1-m) at the mean m, as the paper does. The two are equal for a predictor without variances.
    """

    decides_beforehand = True

    @checked_settings
    def __init__(
        self,
        objective: GradientVariance | EstimatorName = "rloo",
        rounding: Method = "exact",
        uncertainty: Literal["expected", "plug_in"] = "expected",
    ) -> None:
        self._variance = objective if isinstance(objective, GradientVariance) else GradientVariance(objective)
        self._rounding = rounding
        self._uncertainty = uncertainty

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the optimal counts in one round."""
        budget.require_feasible(len(prompts))
        yield allocate(
            None,
            budget.total,
            lower=budget.lower,
            upper=budget.upper,
            objective=self._variance.objective(prediction, self._uncertainty),
            method=self._rounding,
        )
        return Selection()
