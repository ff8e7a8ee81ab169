"""The predicted gradient variance that allocating strategies minimise."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from verl_vip.advantages.utility import UtilityName, utility_slope
from verl_vip.allocation.objective import SmoothObjective
from verl_vip.allocation.variances import DrGrpo, PredictedBaseline, Rloo
from verl_vip.config import EstimatorName
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.beta_belief import BetaBelief
from verl_vip.prediction.contract import Prediction


@dataclass(frozen=True)
class GradientVariance:
    """The gradient variance of an advantage estimator and a utility, summed over prompts.

    Attributes:
        estimator: The advantage estimator; a name from `verl_vip.advantages` whose variance is known.
        utility: The utility G that training maximises. The square of its slope at the predicted probability is a factor
            of the variance.
        utility_floor: See `utility_slope`.
        strength_cap: The largest prior strength of the predicted baseline; see `BetaBelief.from_prediction`.
    """

    estimator: EstimatorName = "rloo"
    utility: UtilityName = "success"
    utility_floor: float = 0.05
    strength_cap: float = 16.0

    def __post_init__(self) -> None:
        if self.estimator not in get_args(EstimatorName):
            raise InvalidInputError(
                f"objective must be one of {', '.join(get_args(EstimatorName))}; got {self.estimator!r}."
            )

    def belief(self, prediction: Prediction) -> BetaBelief:
        """Return the Beta prior of the predicted baseline, for `B` prompts."""
        return BetaBelief.from_prediction(prediction, strongest=self.strength_cap)

    def prompt_weight(self, prediction: Prediction) -> Tensor:
        """Return a `B` tensor of the factors G'(m) of the prompts' gradients."""
        return utility_slope(self.utility, prediction.mean, floor=self.utility_floor)

    def objective(
        self, prediction: Prediction, uncertainty: Literal["expected", "plug_in"] = "expected"
    ) -> SmoothObjective:
        """Return the sum over `B` prompts of G'(m)^2 v f(n), where v is the variance of a reward on its own scale.

        Args:
            prediction: The `B` predictions, with mean m.
            uncertainty: "expected" takes v = E[p(1-p)], "plug_in" v = m(1-m), times the square of the reward scale.
        """
        mean = prediction.mean
        reward_variance = prediction.reward_variance if uncertainty == "expected" else mean * (1 - mean)
        weight = self.prompt_weight(prediction).square() * prediction.rescale(reward_variance)
        if self.estimator == "predicted_baseline":
            return PredictedBaseline(weight, self.belief(prediction).strength)
        return Rloo(weight) if self.estimator == "rloo" else DrGrpo(weight)
