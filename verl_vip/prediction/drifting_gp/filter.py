"""A Kalman filter for what prompts with similar embeddings share, with binomial observations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.logistic_normal import match_binomial
from verl_vip.prediction.state import copied, require

#: Least conditional standard deviation of a weight, given the others, in a saved state. Below it, rounding destroys the
#: precision.
_LEAST_DEVIATION = 1e-7


@dataclass(frozen=True)
class Residuals:
    """How far the logits of `B` prompts are from what the `m` weights `w` explain.

    The logit is `g = phi . w + u` with `u | w ~ N(offset - gain phi . w + drift . w, variance)`. The gain is the Kalman
    gain of the prompt's own outcomes: 0 for a prompt never sampled, whose offset is 0 too, and close to 1 for one
    sampled often, whose own data outweigh what it shares with others.

    Attributes:
        offset: A `B` tensor.
        gain: A `B` tensor in [0, 1].
        variance: A `B` tensor.
        drift: A `B x m` tensor: how residuals have drifted since the prompts were last sampled. None means no drift.
    """

    offset: Tensor
    gain: Tensor
    variance: Tensor
    drift: Tensor | None = None

    def design(self, features: Tensor) -> Tensor:
        """Return the `B x m` derivatives of the expected logits by the weights, from the `B x m` features `phi`."""
        rows = (1 - self.gain)[:, None] * features
        return rows if self.drift is None else rows.add_(self.drift)

    def select(self, rows: Tensor) -> "Residuals":
        """Return the residuals of the given rows."""
        drift = None if self.drift is None else self.drift[rows]
        return Residuals(self.offset[rows], self.gain[rows], self.variance[rows], drift)


@dataclass(frozen=True)
class Prior:
    """The distribution of the weights one step ahead, before the step's outcomes: `w ~ N(mean, root root^T)`.

    Attributes:
        mean: An `m` tensor.
        root: An `m x m` lower triangular tensor.
        retention: An `m` tensor, the factor by which the step shrinks each weight.
        noise: An `m` tensor, the variance that the step adds.
    """

    mean: Tensor
    root: Tensor
    retention: Tensor
    noise: Tensor


@dataclass(frozen=True)
class BatchPrior:
    """The distribution of a batch's logits ahead of a step.

    Attributes:
        prompts: `B` prompts.
        features: A `B x m` tensor.
        prior: The distribution of the weights.
        design: A `B x m` tensor, see `Residuals.design`.
        projected: `design @ prior.root`.
        residuals: The prompts' residuals.
    """

    prompts: Prompts
    features: Tensor
    prior: Prior
    design: Tensor
    projected: Tensor
    residuals: Residuals

    def select(self, prompts: Prompts) -> "BatchPrior | None":
        """Return the rows of the given prompts, None unless all of them are in this batch."""
        if prompts is self.prompts:
            return self
        position = {name: row for row, name in enumerate(self.prompts.ids)}
        rows = torch.tensor([position.get(name, -1) for name in prompts.ids], dtype=torch.long)
        if (rows < 0).any() or not self.prompts.select(rows).looks_like(prompts):
            return None
        residuals = self.residuals.select(rows)
        return BatchPrior(prompts, self.features[rows], self.prior, self.design[rows], self.projected[rows], residuals)


class KalmanFilter:
    """The Gaussian posterior of the weights `w` of `m` features, which revert to zero and are driven by noise.

    Each weight is a stationary Ornstein-Uhlenbeck process sampled once a training step,
    `w_t = r w_{t-1} + N(0, (1 - r^2) s)`.

    Args:
        variance: An `m` tensor of stationary variances `s`, which the filter starts from.

    Attributes:
        mean: An `m` tensor, the posterior mean.
        covariance: An `m x m` tensor, the posterior covariance.
        displacement: An `m` tensor: the sum of the weights' smoothed increments since the start.
    """

    def __init__(self, variance: Tensor) -> None:
        self.mean = torch.zeros_like(variance)
        self.covariance = torch.diag(variance)
        self.displacement = torch.zeros_like(variance)

    def grow(self, variance: Tensor) -> None:
        """Append independent weights with the given prior variances."""
        old, new = len(self.mean), len(variance)
        self.mean = torch.nn.functional.pad(self.mean, (0, new))
        self.displacement = torch.nn.functional.pad(self.displacement, (0, new))
        self.covariance = torch.nn.functional.pad(self.covariance, (0, new, 0, new))
        self.covariance.diagonal()[old:] = variance

    def change_basis(self, basis: Tensor, old: Tensor, new: Tensor) -> None:
        """Express the posterior in other weights `w'` with `w = basis w'`, under another prior.

        The likelihood's part of the posterior precision (the posterior's less the prior's) is kept, and the prior is
        replaced (Bui, Nguyen & Turner, "Streaming sparse Gaussian process approximations", NeurIPS 2017).

        Args:
            basis: An `m x m` matrix.
            old: An `m` tensor of stationary variances, those of the weights `w`.
            new: An `m` tensor of stationary variances, those of the weights `w'`.
        """
        precision = torch.linalg.inv(self.covariance)
        information = precision @ self.mean
        precision.diagonal().sub_(1 / old)
        # The posterior can be wider than the prior that is subtracted, if an earlier prior was wider still. The
        # likelihood's precision is then taken as zero.
        eigenvalue, eigenvector = torch.linalg.eigh(precision)
        half = basis.T @ (eigenvector * eigenvalue.clamp_min(0).sqrt())
        precision = half @ half.T
        precision.diagonal().add_(1 / new)
        self.covariance = torch.linalg.inv(precision)
        self.covariance = (self.covariance + self.covariance.T) / 2
        self.mean = self.covariance @ (basis.T @ information)
        self.displacement = torch.linalg.solve(basis, self.displacement)

    def predict(self, retention: Tensor, variance: Tensor) -> Prior:
        """Return the weights' distribution one step later, and leave the filter as it is; `O(m^3)`.

        Args:
            retention: An `m` tensor of `r`.
            variance: An `m` tensor of `s`.
        """
        noise = (1 - retention.square()) * variance
        covariance = retention[:, None] * self.covariance * retention
        covariance.diagonal().add_(noise)
        return Prior(retention * self.mean, torch.linalg.cholesky(covariance), retention, noise)

    def update(
        self,
        prior: Prior,
        design: Tensor,
        projected: Tensor,
        residuals: Residuals,
        successes: Tensor,
        trials: Tensor,
        visit_variance: float,
    ) -> Residuals:
        """Advance one step and condition on its outcomes; `O(B m^2 + m^3)`.

        Args:
            prior: What `predict` returns for this step.
            design: `B x m` rows of the sampled prompts, from `Residuals.design`.
            projected: `design @ prior.root`, which a prediction has already computed.
            residuals: The prompts' residuals at the time of sampling.
            successes: A `B` tensor.
            trials: A `B` tensor, positive.
            visit_variance: Variance of the part of the logit that belongs to this visit alone.

        Returns:
            The residuals given the outcomes.
        """
        # With w = mean + root z and z ~ N(0, I), the logit is centre + projected z + N(0, residual variance).
        centre = residuals.offset + design @ prior.mean
        variance = residuals.variance
        lasting = projected.square().sum(1) + variance
        precision, information = match_binomial(centre, lasting + visit_variance, successes, trials)
        # The site observes the logit of this visit. Without the visit's own part, it is less precise by this factor.
        attenuation = 1 / (1 + visit_variance * precision)
        precision, information = attenuation * precision, attenuation * information
        shrinkage = 1 / (1 + variance * precision)
        gram = projected.T @ ((precision * shrinkage)[:, None] * projected)
        gram.diagonal().add_(1)
        factor = torch.linalg.cholesky(gram)
        gradient = projected.T @ (shrinkage * (information - precision * centre))
        whitened = torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        self._condition(prior, factor, whitened)
        offset = residuals.offset + variance * information
        if residuals.drift is not None:
            # From now on the drift is part of the prompt's offset; the uncertainty of its weights is not carried along.
            offset = offset + residuals.drift @ self.mean
        return Residuals(shrinkage * offset, 1 - shrinkage * (1 - residuals.gain), shrinkage * variance)

    def _condition(self, prior: Prior, factor: Tensor, whitened: Tensor) -> None:
        """Set the posterior, given the Cholesky factor of its whitened precision and its whitened mean."""
        correction = prior.root @ whitened
        adjoint = torch.linalg.solve_triangular(prior.root.T, whitened[:, None], upper=True)[:, 0]
        # The smoothed mean of the weights one step ago (Rauch-Tung-Striebel). The rest of the correction is movement.
        smoothed = self.mean + (correction - prior.noise * adjoint) / prior.retention
        self.mean = prior.mean + correction
        self.displacement = self.displacement + self.mean - smoothed
        half = torch.linalg.solve_triangular(factor, prior.root.T, upper=False)
        self.covariance = half.T @ half

    def state_dict(self) -> dict[str, Any]:
        """Return the posterior and the displacement."""
        return {
            "mean": self.mean.clone(),
            "covariance": self.covariance.clone(),
            "displacement": self.displacement.clone(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "KalmanFilter":
        """Build a filter from its `state_dict`.

        Raises:
            StateError: If the shapes differ, or the covariance is not symmetric and positive definite.
        """
        mean = copied(state["mean"], torch.float64, None)
        restored = cls(torch.zeros_like(mean))
        restored.mean, restored.displacement = mean, copied(state["displacement"], torch.float64, len(mean))
        restored.covariance = covariance = copied(state["covariance"], torch.float64, len(mean), len(mean))
        factor, failed = torch.linalg.cholesky_ex(covariance)
        symmetric = torch.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9)
        definite = int(failed) == 0 and bool((factor.diagonal() > _LEAST_DEVIATION).all())
        require(symmetric and definite, "covariance of the weights is not symmetric and positive definite")
        return restored
