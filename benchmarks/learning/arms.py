"""The arms of a comparison: each is a strategy, an advantage estimator and a predictor."""

from dataclasses import dataclass, field
from typing import Any, get_args

from benchmarks.learning.update import Estimator
from verl_vip.config import EstimatorName
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.gradient_variance import GradientVariance


@dataclass(frozen=True)
class TrainingArm:
    """A training method.

    Attributes:
        name: The name of the arm.
        strategy: Name in the library's registry.
        predictor: Name in the library's registry.
        estimator: The advantage estimator.
        prompts: Nominal prompts per step; the strategy's `pool_ratio` multiplies it.
        rollouts: The hard budget of a step.
        lower: Least rollouts of a prompt that gets any.
        upper: Most rollouts of a prompt.
        strategy_settings: Keyword arguments of the strategy.
        predictor_settings: Keyword arguments of the predictor.
        labels: The labels that the strategy sees, a kind of `TaskWorld.labels`; "" for none.
    """

    name: str
    strategy: str = "uniform"
    predictor: str = "moving_average"
    estimator: Estimator = field(default_factory=Estimator)
    prompts: int = 32
    rollouts: int = 128
    lower: int = 1
    upper: int = 128
    strategy_settings: dict[str, Any] = field(default_factory=dict)
    predictor_settings: dict[str, Any] = field(default_factory=dict)
    labels: str = ""

    @property
    def budget(self) -> Budget:
        """The hard budget of a step."""
        return Budget(self.rollouts, self.lower, self.upper)

    @property
    def objective(self) -> GradientVariance:
        """The variance that an allocating strategy minimises."""
        known = get_args(EstimatorName)
        name = self.estimator.kind if self.estimator.kind in known else "rloo"
        return GradientVariance(name, self.estimator.utility, self.estimator.utility_floor, self.estimator.strongest)
