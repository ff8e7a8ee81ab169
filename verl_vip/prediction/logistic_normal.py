"""Success probabilities with Gaussian logits: their moments, and binomial observations of them."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

#: Nodes of the Gauss-Hermite rule. Moments of p are then accurate to 1e-4 for logit variances up to 9.
_NODES = 32
#: Newton steps to the mode of the posterior, which is log-concave.
_NEWTON_STEPS = 8
#: Largest Newton step in logits, so that the iteration converges from any start.
_LONGEST_STEP = 3.0
#: Least precision of a site; an observation with less is worthless.
_LEAST_PRECISION = 1e-8


def probability_moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return `E[p]` and `Var[p]` of `p = sigmoid(g)`, `g ~ N(mean, variance)`, elementwise.

    Args:
        mean: A `B` tensor.
        variance: A `B` tensor of non-negative variances.
    """
    nodes, weights = _hermite()
    p = torch.sigmoid(mean[:, None] + variance.sqrt()[:, None] * nodes)
    expected = p @ weights
    return expected, (p - expected[:, None]).square() @ weights


def match_binomial(mean: Tensor, variance: Tensor, successes: Tensor, trials: Tensor) -> tuple[Tensor, Tensor]:
    """Replace binomial likelihoods by Gaussians that give the same posterior mean and variance.

    With prior `g ~ N(mean, variance)` and likelihood `sigmoid(g)^k (1 - sigmoid(g))^(n - k)`, the posterior has the
    same mean and variance as after a Gaussian observation of `g`: the site of expectation propagation (Minka, UAI
    2001). The integrals are Gauss-Hermite sums centred at the mode. Fractional successes are allowed, since the
    likelihood stays log-concave.

    Args:
        mean: A `B` tensor.
        variance: A `B` tensor of positive variances.
        successes: A `B` tensor within `[0, trials]`.
        trials: A `B` tensor.

    Returns:
        The sites' precision, and their information (precision times the observed value), a `B` tensor each.
    """
    mode = mean.clone()
    for _ in range(_NEWTON_STEPS):
        p = torch.sigmoid(mode)
        slope = successes - trials * p - (mode - mean) / variance
        curvature = trials * p * (1 - p) + 1 / variance
        mode = mode + (slope / curvature).clamp(-_LONGEST_STEP, _LONGEST_STEP)
    p = torch.sigmoid(mode)
    deviation = (trials * p * (1 - p) + 1 / variance).rsqrt()
    nodes, weights = _hermite()
    g = mode[:, None] + deviation[:, None] * nodes
    log_posterior = (
        successes[:, None] * g
        - trials[:, None] * torch.nn.functional.softplus(g)
        - (g - mean[:, None]).square() / (2 * variance[:, None])
    )
    mass = torch.softmax(log_posterior + nodes.square() / 2 + weights.log(), 1)
    new_mean = (mass * g).sum(1)
    new_variance = (mass * (g - new_mean[:, None]).square()).sum(1)
    precision = (1 / new_variance - 1 / variance).clamp_min(_LEAST_PRECISION)
    return precision, new_mean * (1 / variance + precision) - mean / variance


@lru_cache(maxsize=1)
def _hermite() -> tuple[Tensor, Tensor]:
    """Nodes and weights of the expectation under N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
