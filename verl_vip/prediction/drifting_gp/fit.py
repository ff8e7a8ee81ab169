"""The drifting Gaussian process's hyper-parameters, fitted by marginal likelihood.

Neither GPyTorch nor BoTorch offers this fit. `botorch.fit_gpytorch_mll` maximises the exact marginal likelihood, which
assumes Gaussian noise on the logits. After a few rollouts, most prompts have only failures or only successes, which no
Gaussian noise on the logit describes. For other likelihoods GPyTorch offers variational bounds, whose parameters need
hundreds of steps. Laplace's approximation of the binomial, for a few hundred visits, needs a few Newton steps in each
of about ten evaluations. The optimiser is SciPy's L-BFGS-B, as in BoTorch. The derivatives are written out, which takes
a third of autograd's time.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from verl_vip.prediction.drifting_gp.kernel import Kernel
from verl_vip.prediction.drifting_gp.panel import PanelVisits

#: Largest numbers of iterations and evaluations, which bound the cost of a fit, and the relative gain that ends it.
_ITERATIONS = 20
_EVALUATIONS = 24
_RELATIVE_GAIN = 1e-5
#: Newton's method: the largest number of steps, and three lengths in logits. A step shorter than the tolerance ends it,
#: one shorter than `_SHORT_STEP` leaves the curvature as it is, and one longer than `_LONGEST_STEP` is cut.
_NEWTON_STEPS = 20
_TOLERANCE = 1e-4
_SHORT_STEP = 0.1
_LONGEST_STEP = 5.0
#: Prior standard deviation of the logarithm of each hyper-parameter.
_PRIOR_DEVIATION = {
    "lengthscale": 0.7,
    "neighbour_variance": 1.0,
    "linear_variance": 1.0,
    "cluster_variance": 1.0,
    "prompt_variance": 1.0,
    "visit_variance": 1.0,
    "level_steps": 1.5,
    "neighbour_steps": 1.5,
    "prompt_steps": 1.5,
}
#: Hyper-parameters stay within this many standard deviations of the prior's median.
_BOUND = 4.0
#: Prior variance of the logit that all prompts share. It is wide and not fitted, because there is only one such logit.
LEVEL_VARIANCE = 4.0


@dataclass(frozen=True)
class Hyperparameters:
    """The hyper-parameters of the model, constant between two fits.

    Attributes:
        lengthscale: Distance between embeddings over which logits are alike.
        neighbour_variance: Variance of the part of the logit that similar prompts share.
        linear_variance: Variance of the part that is linear in the embedding, at a typical embedding.
        cluster_variance: Variance of the part that prompts of one cluster share.
        prompt_variance: Variance of the part of the prompt alone.
        visit_variance: Variance of the part of one visit alone. It correlates the rollouts of a visit, so that their
            successes are overdispersed (vary more than binomially).
        level_steps: Training steps over which the correlation of the common level, and of the effects of covariates,
            falls to `1/e`.
        neighbour_steps: The same for the parts of similar prompts, of the linear kernel and of the clusters.
        prompt_steps: The same for the prompts' own part.
    """

    lengthscale: float = 0.8
    neighbour_variance: float = 1.0
    linear_variance: float = 0.5
    cluster_variance: float = 2.0
    prompt_variance: float = 1.0
    visit_variance: float = 0.05
    level_steps: float = 100.0
    neighbour_steps: float = 100.0
    prompt_steps: float = 100.0

    @property
    def shared_variance(self) -> float:
        """Variance of the parts that depend on the embedding."""
        return self.neighbour_variance + self.linear_variance + self.cluster_variance

    def kernel(self, base: Kernel) -> Kernel:
        """Return the kernel of the parts that depend on the embedding, scaled to variance 1.

        Args:
            base: The kernel whose centre, radius and clusters are kept.
        """
        total = self.shared_variance
        return base.with_shape(self.lengthscale, self.linear_variance / total, self.cluster_variance / total)

    def to_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> "Hyperparameters":
        """Build from the numbers by name; raises `KeyError` if one is missing."""
        return cls(**{entry.name: float(values[entry.name]) for entry in fields(cls)})

    def is_within_bounds(self, prior: "Hyperparameters") -> bool:
        """Return whether a fit with this prior could have returned these values."""
        return all(
            value > 0 and median > 0 and abs(math.log(value / median)) <= 1.001 * _BOUND * _PRIOR_DEVIATION[entry.name]
            for entry, value, median in zip(fields(self), astuple(self), astuple(prior), strict=True)
        )


def fit(
    visits: PanelVisits,
    start: Hyperparameters,
    prior: Hyperparameters,
    kernel: Kernel,
    covariates: Tensor | float = 0.0,
) -> Hyperparameters:
    """Maximise the posterior of the hyper-parameters.

    The marginal likelihood of the binomial outcomes is Laplace's approximation (Rasmussen & Williams 2006,
    section 3.4), and each hyper-parameter is log-normal around `prior`.

    Args:
        visits: `N` records of visits.
        start: Where the search starts.
        prior: Medians of the priors.
        kernel: The kernel, of which centre, radius and clusters are used.
        covariates: The `N x N` prior covariance of what covariates explain.
    """
    from scipy.optimize import minimize

    names = [field.name for field in fields(Hyperparameters)]
    deviation = torch.tensor([_PRIOR_DEVIATION[name] for name in names], dtype=torch.float64)
    centre = torch.tensor(astuple(prior), dtype=torch.float64).log()
    first = torch.tensor(astuple(start), dtype=torch.float64).log()
    low, high = centre - _BOUND * deviation, centre + _BOUND * deviation
    covariance = VisitCovariance(visits, kernel, covariates)
    mode = torch.zeros_like(visits.successes)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal mode
        point = torch.from_numpy(values)
        laplace = approximate(covariance.at(point.exp()), visits.successes, visits.trials, mode)
        mode = laplace.mode
        standardised = (point - centre) / deviation
        value = float(standardised.square().sum()) / 2 - laplace.evidence
        return value, (standardised / deviation - covariance.gradient(laplace.slope)).numpy()

    best = minimize(
        loss,
        first.clamp(low, high).numpy(),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low.tolist(), high.tolist(), strict=True)),
        options={"maxiter": _ITERATIONS, "maxfun": _EVALUATIONS, "ftol": _RELATIVE_GAIN},
    )
    return Hyperparameters(*np.exp(best.x).tolist())


class VisitCovariance:
    """The prior covariance of the logits of `N` visits, as a function of the hyper-parameters.

    Args:
        visits: The visits.
        kernel: The kernel, of which centre, radius and clusters are used.
        covariates: The covariance of what covariates explain. It decays with the time between visits as the level does.
    """

    def __init__(self, visits: PanelVisits, kernel: Kernel, covariates: Tensor | float = 0.0) -> None:
        self._common = LEVEL_VARIANCE + covariates
        points = visits.embeddings.double()
        centred = (points - kernel.centre) / kernel.radius
        self._product = centred @ centred.T
        self._squared = torch.cdist(points, points).square_()
        self._same_cluster = kernel.cluster_kernel(visits.embeddings, visits.embeddings).double()
        self._lag = (visits.time[:, None] - visits.time).abs()
        # The mean of independent parts of several visits varies less.
        self._visit_share = 1 / visits.visits
        # Few pairs of visits belong to one prompt.
        self._same_prompt = (visits.prompt[:, None] == visits.prompt).nonzero(as_tuple=True)

    def at(self, values: Tensor) -> Tensor:
        """Return the `N x N` covariance; `values` are in the order of `Hyperparameters`."""
        lengthscale, neighbours, linear, cluster, own, visit, level_steps, neighbour_steps, own_steps = values.tolist()
        self._steps = (level_steps, neighbour_steps, own_steps)
        self._inverse_square = 1 / lengthscale**2
        decay = torch.exp(self._lag / -neighbour_steps)
        self._level = torch.exp(self._lag / -level_steps).mul_(self._common)
        self._radial = torch.exp(self._squared * (-self._inverse_square / 2)).mul_(neighbours).mul_(decay)
        self._linear = (self._product * linear).mul_(decay)
        self._cluster = decay.mul_(self._same_cluster).mul_(cluster)
        self._own = torch.exp(self._lag[self._same_prompt] / -own_steps).mul_(own)
        self._visit = visit
        total = self._level + self._radial
        total.add_(self._linear).add_(self._cluster)
        total.index_put_(self._same_prompt, self._own, accumulate=True)
        total.diagonal().add_(visit * self._visit_share)
        return total

    def gradient(self, slope: Tensor) -> Tensor:
        """Return the derivatives of a function by the logarithms of the hyper-parameters, at the last call of `at`.

        Args:
            slope: The function's `N x N` derivatives by the covariance.
        """
        level_steps, neighbour_steps, own_steps = self._steps
        radial, linear, cluster = slope * self._radial, slope * self._linear, slope * self._cluster
        own = slope[self._same_prompt] * self._own
        parts = (
            torch.sum(radial * self._squared) * self._inverse_square,
            radial.sum(),
            linear.sum(),
            cluster.sum(),
            own.sum(),
            self._visit * slope.diagonal().dot(self._visit_share),
            torch.sum(slope * self._level * self._lag) / level_steps,
            torch.sum(radial.add_(linear).add_(cluster) * self._lag) / neighbour_steps,
            own.dot(self._lag[self._same_prompt]) / own_steps,
        )
        return torch.stack(parts)


@dataclass(frozen=True)
class Laplace:
    """Laplace's approximation of the posterior of `N` logits (Rasmussen & Williams 2006, section 3.4).

    Attributes:
        mode: An `N` tensor, the most probable logits.
        evidence: The approximate log marginal likelihood, without the binomial coefficients.
        slope: An `N x N` tensor: the derivatives of the evidence by the prior covariance, including those through the
            mode.
    """

    mode: Tensor
    evidence: float
    slope: Tensor


def approximate(kernel: Tensor, successes: Tensor, trials: Tensor, start: Tensor) -> Laplace:
    """Approximate the posterior of logits with prior `N(0, kernel)` and binomial outcomes.

    The slope is that of Rasmussen & Williams 2006, Algorithm 5.1, as one matrix, so that the derivative by each
    hyper-parameter is a sum over it.

    Args:
        kernel: An `N x N` prior covariance.
        successes: An `N` tensor.
        trials: An `N` tensor.
        start: An `N` tensor to start the search for the mode from.
    """
    mode = laplace_mode(kernel, successes, trials, start)
    root, factor = _factor(kernel, trials, mode)
    mode = mode + _newton_step(kernel, successes, trials, mode, root, factor)
    p = torch.sigmoid(mode)
    weights = successes - trials * p
    log_determinant = 2 * float(factor.diagonal().log().sum())
    likelihood = float((successes * mode - trials * torch.nn.functional.softplus(mode)).sum())
    evidence = likelihood - float(mode @ weights) / 2 - log_determinant / 2
    inverse = torch.cholesky_inverse(factor)
    # -1/2 d log|B| / d mode; posterior variance times curvature is 1 - diag(B^-1).
    third = (1 - inverse.diagonal()) * (p - 0.5)
    inverse.mul_(root[:, None]).mul_(root)
    through_mode = third - inverse @ (kernel @ third)
    both = torch.stack([weights / 2 + through_mode, weights])
    slope = (both.T @ both.flip(0)).sub_(inverse).div_(2)
    return Laplace(mode, evidence, slope)


def laplace_mode(kernel: Tensor, successes: Tensor, trials: Tensor, start: Tensor) -> Tensor:
    """Return the most probable logits by Newton's method.

    Factoring the curvature is the costly part. It is repeated only after a step long enough to change it.

    Args:
        kernel: An `N x N` prior covariance.
        successes: An `N` tensor.
        trials: An `N` tensor.
        start: An `N` tensor to start from.
    """
    mode, size = start, float("inf")
    for _ in range(_NEWTON_STEPS):
        if size > _SHORT_STEP:
            root, factor = _factor(kernel, trials, mode)
        step = _newton_step(kernel, successes, trials, mode, root, factor)
        size = float(step.abs().max())
        mode = mode + step * min(1.0, _LONGEST_STEP / max(size, 1e-12))
        if size < _TOLERANCE:
            break
    return mode


def _factor(kernel: Tensor, trials: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square root of the curvature `W` and the Cholesky factor of `B = I + W^1/2 K W^1/2`."""
    p = torch.sigmoid(logits)
    root = (trials * p * (1 - p)).sqrt()
    inner = (root[:, None] * kernel).mul_(root)
    inner.diagonal().add_(1)
    return root, torch.linalg.cholesky(inner)


def _newton_step(
    kernel: Tensor, successes: Tensor, trials: Tensor, logits: Tensor, root: Tensor, factor: Tensor
) -> Tensor:
    """Return Newton's step, `(I + K W)^-1 (K slope - logits)`, with the curvature that was factored."""
    residual = kernel @ (successes - trials * torch.sigmoid(logits)) - logits
    inner = torch.cholesky_solve((root * residual)[:, None], factor)[:, 0]
    return residual - kernel @ (root * inner)
