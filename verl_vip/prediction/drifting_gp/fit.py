"""The drifting Gaussian process's hyper-parameters, fitted by marginal likelihood.

Neither GPyTorch nor BoTorch does this fit. `botorch.fit_gpytorch_mll` maximises the exact marginal likelihood, which
needs Gaussian noise on the logits; after a few rollouts most prompts have only failures or only successes, and then no
Gaussian of the logit stands for the outcome. For other likelihoods GPyTorch offers variational bounds, whose
variational parameters need hundreds of steps; Laplace's approximation of the binomial, for a few hundred visits, needs
a few Newton steps for each of about ten evaluations. The search is SciPy's L-BFGS-B, as theirs is; the derivatives are
written out, which costs a third of what autograd does.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from verl_vip.prediction.drifting_gp.features import Kernel
from verl_vip.prediction.drifting_gp.panel import Records

#: Most iterations and evaluations of the search, which bound what a fit costs, and the relative gain that ends it.
_ITERATIONS = 20
_EVALUATIONS = 24
_RELATIVE_GAIN = 1e-5
#: Most steps to the mode, the length in logits that ends them, that after which the curvature is as it was, and that
#: which they are cut to.
_NEWTON_STEPS = 20
_TOLERANCE = 1e-4
_SHORT_STEP = 0.1
_LONGEST_STEP = 5.0
#: Standard deviation of the log of each hyper-parameter before anything is seen.
_PRIOR_SPREAD = {
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
_REACH = 4.0
#: Prior variance of the logit that all prompts share; wide, and not fitted, as there is only one of it.
LEVEL_VARIANCE = 4.0


@dataclass(frozen=True)
class Hyperparameters:
    """What the model takes as given between two fits.

    Attributes:
        lengthscale: Distance between embeddings over which logits are alike.
        neighbour_variance: Variance of the part of the logit that similar prompts share.
        linear_variance: Variance of the part that is linear in the embedding, at a typical embedding.
        cluster_variance: Variance of the part that prompts of one cluster share.
        prompt_variance: Variance of the part that a prompt has for itself.
        visit_variance: Variance of the part that a prompt has at one visit alone. It makes the rollouts of a visit
            correlated, and their successes vary more than binomially.
        level_steps: Training steps after which the common level has kept `1/e` of its correlation.
        neighbour_steps: The same for the neighbourhoods' part, the linear one and the clusters'.
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
        """Variance of what the embedding tells."""
        return self.neighbour_variance + self.linear_variance + self.cluster_variance

    def kernel(self, of: Kernel) -> Kernel:
        """Return the kernel of what the embedding tells, of variance 1, centred and clustered as another."""
        total = self.shared_variance
        return of.with_shape(self.lengthscale, self.linear_variance / total, self.cluster_variance / total)

    def to_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> "Hyperparameters":
        """Build from all numbers by name; `KeyError` if one is missing."""
        return cls(**{entry.name: float(values[entry.name]) for entry in fields(cls)})

    def is_within_reach(self, prior: "Hyperparameters") -> bool:
        """Return whether a fit with this prior could have ended here."""
        return all(
            value > 0 and median > 0 and abs(math.log(value / median)) <= 1.001 * _REACH * _PRIOR_SPREAD[entry.name]
            for entry, value, median in zip(fields(self), astuple(self), astuple(prior), strict=True)
        )


def fit(records: Records, start: Hyperparameters, prior: Hyperparameters, kernel: Kernel) -> Hyperparameters:
    """Maximise the posterior of the hyper-parameters.

    The marginal likelihood of the binomial outcomes is Laplace's approximation (Rasmussen & Williams 2006,
    section 3.4), and each hyper-parameter is log-normal around `prior`.

    Args:
        records: `N` visits.
        start: Where the search starts.
        prior: Medians of the priors.
        kernel: Whose centre, radius and clusters these are.
    """
    from scipy.optimize import minimize

    names = [field.name for field in fields(Hyperparameters)]
    spread = torch.tensor([_PRIOR_SPREAD[name] for name in names], dtype=torch.float64)
    centre = torch.tensor(astuple(prior), dtype=torch.float64).log()
    first = torch.tensor(astuple(start), dtype=torch.float64).log()
    low, high = centre - _REACH * spread, centre + _REACH * spread
    covariance = VisitCovariance(records, kernel)
    mode = torch.zeros_like(records.successes)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal mode
        point = torch.from_numpy(values)
        laplace = approximate(covariance.at(point.exp()), records.successes, records.trials, mode)
        mode = laplace.mode
        away = (point - centre) / spread
        value = float(away.square().sum()) / 2 - laplace.evidence
        return value, (away / spread - covariance.gradient(laplace.slope)).numpy()

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
    """The prior covariance of the logits of `N` visits, as a function of the hyper-parameters."""

    def __init__(self, records: Records, kernel: Kernel) -> None:
        points = records.embeddings.double()
        centred = (points - kernel.centre) / kernel.radius
        self._product = centred @ centred.T
        self._squared = torch.cdist(points, points).square_()
        self._together = kernel.together(records.embeddings, records.embeddings).double()
        self._lag = (records.time[:, None] - records.time).abs()
        # Few pairs of visits are to one prompt.
        self._same = (records.prompt[:, None] == records.prompt).nonzero(as_tuple=True)

    def at(self, values: Tensor) -> Tensor:
        """Return the `N x N` covariance; `values` in the order of `Hyperparameters`."""
        lengthscale, neighbours, linear, cluster, own, visit, level_steps, neighbour_steps, own_steps = values.tolist()
        self._steps = (level_steps, neighbour_steps, own_steps)
        self._inverse_square = 1 / lengthscale**2
        decay = torch.exp(self._lag / -neighbour_steps)
        self._level = torch.exp(self._lag / -level_steps).mul_(LEVEL_VARIANCE)
        self._radial = torch.exp(self._squared * (-self._inverse_square / 2)).mul_(neighbours).mul_(decay)
        self._linear = (self._product * linear).mul_(decay)
        self._cluster = decay.mul_(self._together).mul_(cluster)
        self._own = torch.exp(self._lag[self._same] / -own_steps).mul_(own)
        self._visit = visit
        total = self._level + self._radial
        total.add_(self._linear).add_(self._cluster)
        total.index_put_(self._same, self._own, accumulate=True)
        total.diagonal().add_(visit)
        return total

    def gradient(self, slope: Tensor) -> Tensor:
        """Return the derivatives by the logarithms of the hyper-parameters where the covariance was last taken.

        Args:
            slope: The `N x N` derivatives of something by the covariance.
        """
        level_steps, neighbour_steps, own_steps = self._steps
        radial, linear, cluster = slope * self._radial, slope * self._linear, slope * self._cluster
        own = slope[self._same] * self._own
        parts = (
            torch.sum(radial * self._squared) * self._inverse_square,
            radial.sum(),
            linear.sum(),
            cluster.sum(),
            own.sum(),
            self._visit * slope.diagonal().sum(),
            torch.sum(slope * self._level * self._lag) / level_steps,
            torch.sum(radial.add_(linear).add_(cluster) * self._lag) / neighbour_steps,
            own.dot(self._lag[self._same]) / own_steps,
        )
        return torch.stack(parts)


@dataclass(frozen=True)
class Laplace:
    """Laplace's approximation of the posterior of `N` logits (Rasmussen & Williams 2006, section 3.4).

    Attributes:
        mode: An `N` tensor, the most probable logits.
        evidence: The approximate log marginal likelihood, without the binomial coefficients.
        slope: An `N x N` tensor, the derivatives of the evidence by the prior covariance, those through the mode
            included.
    """

    mode: Tensor
    evidence: float
    slope: Tensor


def approximate(kernel: Tensor, successes: Tensor, trials: Tensor, start: Tensor) -> Laplace:
    """Approximate the posterior of logits with prior `N(0, kernel)` and binomial outcomes.

    The slope is that of Rasmussen & Williams 2006, Algorithm 5.1, written as one matrix, so that every
    hyper-parameter's derivative is a sum over it.

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
    # -1/2 d log|B| / d mode: the posterior variance times the curvature is 1 - diag(B^-1).
    bend = (1 - inverse.diagonal()) * (p - 0.5)
    inverse.mul_(root[:, None]).mul_(root)
    through = bend - inverse @ (kernel @ bend)
    both = torch.stack([weights / 2 + through, weights])
    slope = (both.T @ both.flip(0)).sub_(inverse).div_(2)
    return Laplace(mode, evidence, slope)


def laplace_mode(kernel: Tensor, successes: Tensor, trials: Tensor, start: Tensor) -> Tensor:
    """Return the most probable logits by Newton's method.

    The curvature is factored anew, which is the costly part, only after a step that was long enough to change it.

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
    away = kernel @ (successes - trials * torch.sigmoid(logits)) - logits
    inner = torch.cholesky_solve((root * away)[:, None], factor)[:, 0]
    return away - kernel @ (root * inner)
