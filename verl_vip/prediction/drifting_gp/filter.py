"""What prompts with similar embeddings have in common, followed through time by a Kalman filter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.drifting_gp.logistic_normal import match_binomial
from verl_vip.prediction.state import copied, require

#: Least standard deviation of a weight given the others, in a state; below, the precision is lost to rounding.
_LEAST_DEVIATION = 1e-7


@dataclass(frozen=True)
class Residuals:
    """How far prompts' logits are from what their neighbourhood says, given the weights `w`.

    The logit is `g = phi . w + u` with `u | w ~ N(offset - pull phi . w + drift . w, variance)`. A prompt never sampled
    has offset and pull 0; one sampled often has pull near 1, and its own data outweigh the neighbourhood.

    Attributes:
        offset: A `B` tensor.
        pull: A `B` tensor in [0, 1].
        variance: A `B` tensor.
        drift: A `B x m` tensor of how residuals have moved since the prompts were last sampled; None if they have not.
    """

    offset: Tensor
    pull: Tensor
    variance: Tensor
    drift: Tensor | None = None

    def design(self, features: Tensor) -> Tensor:
        """Return the `B x m` tensor by which the logits depend on the weights, given the `B x m` features `phi`."""
        rows = (1 - self.pull)[:, None] * features
        return rows if self.drift is None else rows.add_(self.drift)

    def select(self, rows: Tensor) -> "Residuals":
        """Return those of the given rows."""
        drift = None if self.drift is None else self.drift[rows]
        return Residuals(self.offset[rows], self.pull[rows], self.variance[rows], drift)


@dataclass(frozen=True)
class Outlook:
    """Beliefs about the weights one step ahead, `w ~ N(mean, root root^T)`.

    Attributes:
        mean: An `m` tensor.
        root: An `m x m` lower triangular tensor.
        retention: An `m` tensor, what the step retains of each weight.
        noise: An `m` tensor, the variance that the step adds.
    """

    mean: Tensor
    root: Tensor
    retention: Tensor
    noise: Tensor


class Neighbourhood:
    """Gaussian beliefs about the weights `w` of `m` features, which revert to zero and are driven by noise.

    Each weight is a stationary Ornstein-Uhlenbeck process sampled once a training step,
    `w_t = r w_{t-1} + N(0, (1 - r^2) s)`.

    Args:
        variance: An `m` tensor of stationary variances `s`, which the beliefs start from.
    """

    def __init__(self, variance: Tensor) -> None:
        self.mean = torch.zeros_like(variance)
        self.covariance = torch.diag(variance)
        #: By how much the weights have moved since the start, as far as could be seen: smoothed increments.
        self.travel = torch.zeros_like(variance)

    def grow(self, variance: Tensor) -> None:
        """Add features behind the others, with the given variances."""
        old, new = len(self.mean), len(variance)
        self.mean = torch.nn.functional.pad(self.mean, (0, new))
        self.travel = torch.nn.functional.pad(self.travel, (0, new))
        self.covariance = torch.nn.functional.pad(self.covariance, (0, new, 0, new))
        self.covariance.diagonal()[old:] = variance

    def reshape(self, change: Tensor, old: Tensor, new: Tensor) -> None:
        """Express the beliefs in other weights `w'` with `w = change w'`, under another prior.

        What the outcomes have said, the posterior's precision less the prior's, is kept, and the prior replaced (Bui,
        Nguyen & Turner, "Streaming sparse Gaussian process approximations", NeurIPS 2017).

        Args:
            change: An `m x m` matrix.
            old: An `m` tensor of the weights' stationary variances until now.
            new: The same from now on.
        """
        told = torch.linalg.inv(self.covariance)
        shift = told @ self.mean
        told.diagonal().sub_(1 / old)
        # Where an earlier prior was wider than the last, beliefs can know less than it says; nothing is less than that.
        size, direction = torch.linalg.eigh(told)
        half = change.T @ (direction * size.clamp_min(0).sqrt())
        precision = half @ half.T
        precision.diagonal().add_(1 / new)
        self.covariance = torch.linalg.inv(precision)
        self.covariance = (self.covariance + self.covariance.T) / 2
        self.mean = self.covariance @ (change.T @ shift)
        self.travel = torch.linalg.solve(change, self.travel)

    def ahead(self, retention: Tensor, variance: Tensor) -> Outlook:
        """Return what is believed of the weights one step later, without changing the beliefs; `O(m^3)`.

        Args:
            retention: An `m` tensor of `r`.
            variance: An `m` tensor of `s`.
        """
        noise = (1 - retention.square()) * variance
        covariance = retention[:, None] * self.covariance * retention
        covariance.diagonal().add_(noise)
        return Outlook(retention * self.mean, torch.linalg.cholesky(covariance), retention, noise)

    def update(
        self,
        outlook: Outlook,
        design: Tensor,
        projected: Tensor,
        residuals: Residuals,
        successes: Tensor,
        trials: Tensor,
        visit_variance: float,
    ) -> Residuals:
        """Advance one step and learn from it; `O(B m^2 + m^3)`.

        Args:
            outlook: What `ahead` says of this step.
            design: `B x m` rows of the sampled prompts, from `Residuals.design`.
            projected: `design @ outlook.root`, which a prediction has needed before.
            residuals: Their residuals at the time of sampling.
            successes: A `B` tensor.
            trials: A `B` tensor, positive.
            visit_variance: Variance of what a logit has at this visit alone.

        Returns:
            The residuals after learning.
        """
        # In the coordinates w = mean + root x, prior x ~ N(0, I), the logit is centre + projected x + noise.
        centre = residuals.offset + design @ outlook.mean
        own = residuals.variance
        lasting = projected.square().sum(1) + own
        precision, shift = match_binomial(centre, lasting + visit_variance, successes, trials)
        # The site tells of the logit at this visit, and through its passing part as much less of the lasting one.
        passing = 1 / (1 + visit_variance * precision)
        precision, shift = passing * precision, passing * shift
        trust = 1 / (1 + own * precision)
        gram = projected.T @ ((precision * trust)[:, None] * projected)
        gram.diagonal().add_(1)
        factor = torch.linalg.cholesky(gram)
        pulled = projected.T @ (trust * (shift - precision * centre))
        x = torch.cholesky_solve(pulled[:, None], factor)[:, 0]
        self._move(outlook, factor, x)
        offset = residuals.offset + own * shift
        if residuals.drift is not None:
            # From now on the movement belongs to the prompt; how uncertain its weights are is not carried.
            offset = offset + residuals.drift @ self.mean
        return Residuals(trust * offset, 1 - trust * (1 - residuals.pull), trust * own)

    def _move(self, outlook: Outlook, factor: Tensor, x: Tensor) -> None:
        moved = outlook.root @ x
        blame = torch.linalg.solve_triangular(outlook.root.T, x[:, None], upper=True)[:, 0]
        # What the step says about the weights one step ago (Rauch-Tung-Striebel); the rest is movement.
        before = self.mean + (moved - outlook.noise * blame) / outlook.retention
        self.mean = outlook.mean + moved
        self.travel = self.travel + self.mean - before
        half = torch.linalg.solve_triangular(factor, outlook.root.T, upper=False)
        self.covariance = half.T @ half

    def state_dict(self) -> dict[str, Any]:
        """Return the beliefs."""
        return {
            "mean": self.mean.clone(),
            "covariance": self.covariance.clone(),
            "travel": self.travel.clone(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Neighbourhood":
        """Build what `state_dict` describes.

        Raises:
            StateError: If there is not one mean, variance and movement for each weight, or the covariance is none.
        """
        mean = copied(state["mean"], torch.float64, None)
        beliefs = cls(torch.zeros_like(mean))
        beliefs.mean, beliefs.travel = mean, copied(state["travel"], torch.float64, len(mean))
        beliefs.covariance = covariance = copied(state["covariance"], torch.float64, len(mean), len(mean))
        factor, failed = torch.linalg.cholesky_ex(covariance)
        symmetric = torch.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9)
        definite = int(failed) == 0 and bool((factor.diagonal() > _LEAST_DEVIATION).all())
        require(symmetric and definite, "beliefs have a covariance that is not symmetric and positive definite")
        return beliefs
