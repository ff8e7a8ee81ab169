"""Evaluation of models: samples and grades responses, and computes pass@k, mean@k and maj@k with 95% intervals.

The intervals are over problems. The package does not depend on verl, vLLM or Ray: callers pass in a sampler
(`verl_vip.evaluation.sampling.Sampler`).
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
