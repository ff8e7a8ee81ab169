"""What is known of each prompt before sampling: identity, embedding, success probability.

The names here are the interface that predictors of other packages implement too.
"""

from verl_vip.prediction.contract import LogitFactors, Prediction, Predictor, Prompts
from verl_vip.prediction.observations import Observations, pool

__all__ = ["LogitFactors", "Observations", "Prediction", "Predictor", "Prompts", "pool"]
