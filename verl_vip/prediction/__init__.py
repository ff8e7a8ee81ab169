"""What is known of each prompt before it is sampled: identity, embedding, success probability.

The names here are the contract that predictors of other packages keep too.
"""

from verl_vip.prediction.contract import Prediction, Predictor, Prompts
from verl_vip.prediction.observations import Observations, pool

__all__ = ["Observations", "Prediction", "Predictor", "Prompts", "pool"]
