"""All allocation policies behind one interface, which strategies of other packages implement too."""

from verl_vip.advantages.selection import Selection
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless, Strategy

__all__ = ["Budget", "Prediction", "Prompts", "Rounds", "Selection", "Stateless", "Strategy"]
