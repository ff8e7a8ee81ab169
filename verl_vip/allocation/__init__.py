"""How many rollouts each prompt gets: separable objectives, their relaxed optima and their exact integer optima.

`allocate` is the main function. `relaxed` returns the continuous optimum with its multiplier. An objective is one small
class; see `verl_vip.allocation.objective`.
"""

from verl_vip.allocation.allocate import allocate, relaxed
from verl_vip.allocation.objective import ClosedFormObjective, Objective, SmoothObjective
from verl_vip.allocation.relaxed import RelaxedAllocation
from verl_vip.allocation.values import CobaValue, HoraValue, KnapsackValue
from verl_vip.allocation.variances import DrGrpo, PredictedBaseline, Rloo

__all__ = [
    "ClosedFormObjective",
    "CobaValue",
    "DrGrpo",
    "HoraValue",
    "KnapsackValue",
    "Objective",
    "PredictedBaseline",
    "RelaxedAllocation",
    "Rloo",
    "SmoothObjective",
    "allocate",
    "relaxed",
]
