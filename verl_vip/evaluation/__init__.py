"""How good a model is: sampled responses, graded, as pass@k, mean@k and maj@k with intervals over problems.

Knows nothing of verl, vLLM or Ray: what samples is handed in (`verl_vip.evaluation.sampling.Sampler`).
"""

from verl_vip.evaluation.comparison import paired_difference
from verl_vip.evaluation.estimators import Vote, majority_at_k, pass_at_k
from verl_vip.evaluation.results import PairedDifference
from verl_vip.statistics.intervals import Estimate, mean_interval, score_interval

__all__ = [
    "Estimate",
    "PairedDifference",
    "Vote",
    "majority_at_k",
    "mean_interval",
    "paired_difference",
    "pass_at_k",
    "score_interval",
]
