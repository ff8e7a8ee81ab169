"""A kernel as a product of finite features."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.contract import require_width
from verl_vip.prediction.drifting_gp.clusters import Clusters
from verl_vip.prediction.state import copied, require

#: A prompt whose kernel is explained up to this by the features adds nothing worth a feature.
_NOVELTY = 1e-3
#: Added to the diagonal of the inducing points' kernel matrix, which a linear kernel makes singular.
_JITTER = 1e-4
#: How far a saved factor may be from the kernel matrix of its points, relative to the largest entry.
_FACTOR_ERROR = 1e-2


@dataclass(frozen=True)
class Kernel:
    """Three parts, `(1 - s - v) exp(-|x - y|^2 / (2 h^2)) + s (x - c) . (y - c) / r^2 + v together(x, y)`.

    The radial part says that near prompts are alike; the linear part, that success rises along some directions,
    which carries over to prompts far from all that were seen; the third, that prompts of one cluster are alike.

    Attributes:
        lengthscale: `h`.
        linear_share: `s`, in [0, 1).
        cluster_share: `v`, in [0, 1 - s).
        centre: A `d` tensor `c`, and
        radius: `r`: the mean of typical embeddings, and their root mean square distance from it.
        clusters: Whose `kernel` is `together`; None for one cluster of all.
    """

    lengthscale: float
    linear_share: float
    cluster_share: float
    centre: Tensor
    radius: float
    clusters: Clusters | None = None

    @classmethod
    def around(cls, embeddings: Tensor, lengthscale: float = 1.0) -> "Kernel":
        """Build a radial kernel, with these `B x d` embeddings as the typical ones."""
        points = embeddings.detach().to("cpu", torch.float32)
        centre = points.mean(0)
        radius = float((points - centre).square().sum(1).mean().sqrt())
        return cls(lengthscale, 0.0, 0.0, centre, radius if radius > 0 else 1.0)

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the `A x B` float64 kernel matrix of `A x d` and `B x d` float32 embeddings."""
        radial_share = 1 - self.linear_share - self.cluster_share
        together = self.together(left, right) if self.cluster_share else None
        # Single precision suffices for what lies near the centre.
        left, right = left - self.centre, right - self.centre
        product = left @ right.T
        squared = (left.square().sum(1)[:, None] + right.square().sum(1) - 2 * product).clamp_min_(0).double()
        radial = squared.mul_(-0.5 / self.lengthscale**2).exp_().mul_(radial_share)
        if self.linear_share:
            radial.add_(product, alpha=self.linear_share / self.radius**2)
        if together is not None:
            radial.add_(together, alpha=self.cluster_share)
        return radial

    def together(self, left: Tensor, right: Tensor) -> Tensor:
        """Return how often the `A x B` pairs of `A x d` and `B x d` embeddings are in one cluster, from 0 to 1."""
        if self.clusters is None:
            return torch.ones(len(left), len(right))
        return self.clusters.kernel(left, right)

    def diagonal(self, points: Tensor) -> Tensor:
        """Return the `B` float64 values `k(x, x)`."""
        distance = (points - self.centre).square().sum(1).double() / self.radius**2
        return 1 - self.linear_share + self.linear_share * distance

    def with_shape(self, lengthscale: float, linear_share: float, cluster_share: float) -> "Kernel":
        """Return the kernel with another lengthscale and shares, and the same centre and clusters."""
        return replace(self, lengthscale=lengthscale, linear_share=linear_share, cluster_share=cluster_share)

    def with_clusters(self, clusters: Clusters) -> "Kernel":
        """Return the kernel with other clusters."""
        return replace(self, clusters=clusters)

    def state_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return {**vars(self), "clusters": None if self.clusters is None else self.clusters.state_dict()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Kernel":
        """Build what `state_dict` describes; raises `StateError` if its parts do not fit together."""
        clusters = None if state["clusters"] is None else Clusters.from_state(state["clusters"])
        centre = copied(state["centre"], torch.float32, None)
        lengthscale, linear, cluster, radius = (
            float(state[name]) for name in ("lengthscale", "linear_share", "cluster_share", "radius")
        )
        shares = linear >= 0 and cluster >= 0 and linear + cluster <= 1
        require(shares and lengthscale > 0 and radius > 0, "kernel has a share or a length that none has")
        require(clusters is None or len(clusters.basis) == len(centre), "kernel has clusters of another width")
        return cls(lengthscale, linear, cluster, centre, radius, clusters)


class NystromFeatures:
    """Features `phi` with `phi(x) . phi(y) ~ k(x, y)`, nearly exact at chosen points.

    With inducing points `Z` and `L L^T = k(Z, Z) + jitter`, `phi(x) = L^-1 k(Z, x)` (the Nystrom approximation;
    Williams & Seeger, NeurIPS 2000). Points are taken greedily where the kernel is explained least, which
    is pivoted Cholesky factorisation. A further point adds one feature and leaves the others as they are,
    so the set can grow while it is in use.

    Args:
        kernel: `k`.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._points = torch.zeros(0, len(kernel.centre))
        # The features of the inducing points themselves: the Cholesky factor of their kernel matrix.
        self._factor = torch.zeros(0, 0, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self._points)

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Return the `B x m` float64 features of `B x d` embeddings.

        Raises:
            InvalidInputError: If embeddings are of another width than those before.
        """
        kernel = self.kernel(self._points, self._checked(embeddings))
        features: Tensor = torch.linalg.solve_triangular(self._factor, kernel, upper=False).T
        return features

    def unexplained(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Return the `B` values `k(x, x) - |phi(x)|^2 >= 0`, what the features miss of the kernel."""
        points = embeddings.detach().to("cpu", torch.float32)
        return (self.kernel.diagonal(points) - features.square().sum(1)).clamp_min(0)

    def grow(self, embeddings: Tensor, limit: int, features: Tensor | None = None) -> int:
        """Make inducing points of those embeddings that are explained least.

        Args:
            embeddings: `B x d` candidates.
            limit: Most points to have in all.
            features: Their `B x m` features, where these are known already.

        Returns:
            How many were added.
        """
        candidates = self._checked(embeddings)
        features = self(candidates) if features is None else features
        rest = self.unexplained(candidates, features)
        added = 0
        while len(self) < limit and added < len(candidates):
            best = int(rest.argmax())
            if rest[best] < _NOVELTY:
                break
            row, scale = features[best : best + 1], (rest[best] + _JITTER).sqrt()
            kernel = self.kernel(candidates, candidates[best : best + 1])
            column = (kernel - features @ row.T) / scale
            features = torch.cat([features, column], 1)
            rest = (rest - column[:, 0].square()).clamp_min(0)
            rest[best] = 0
            self._factor = torch.nn.functional.pad(self._factor, (0, 1, 0, 1))
            self._factor[-1, :-1], self._factor[-1, -1] = row[0], scale
            self._points = torch.cat([self._points, candidates[best : best + 1]])
            added += 1
        return added

    def reshape(self, kernel: Kernel) -> Tensor:
        """Change the kernel, and keep the inducing points.

        Returns:
            The `m x m` matrix `T` for which the new features with weights `w` have, at the inducing points, the values
            of the old features with weights `T w`.
        """
        old = self._factor
        self.kernel = kernel
        gram = kernel(self._points, self._points)
        gram.diagonal().add_(_JITTER)
        self._factor = torch.linalg.cholesky(gram)
        change: Tensor = torch.linalg.solve_triangular(old, self._factor, upper=False)
        return change

    def state_dict(self) -> dict[str, Any]:
        """Return the kernel, the inducing points and their factor."""
        return {"kernel": self.kernel.state_dict(), "points": self._points.clone(), "factor": self._factor.clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "NystromFeatures":
        """Build what `state_dict` describes.

        Raises:
            StateError: If its parts do not fit together.
        """
        features = cls(Kernel.from_state(state["kernel"]))
        points = copied(state["points"], torch.float32, None, len(features.kernel.centre))
        factor = copied(state["factor"], torch.float64, len(points), len(points))
        gram = features.kernel(points, points)
        # Points were added one by one, from kernels in single precision.
        away = (factor @ factor.T - gram).abs() / (1 + gram.diagonal().max() if len(points) else 1)
        lower = torch.equal(factor, factor.tril()) and bool((factor.diagonal() > 0).all())
        require(lower and bool((away < _FACTOR_ERROR).all()), "features are not those of their inducing points")
        features._points, features._factor = points, factor
        return features

    def require_width(self, embeddings: Tensor) -> None:
        """Raise `InvalidInputError` unless `B x d` embeddings are as wide as those before."""
        require_width(embeddings, self._points.shape[1])

    def _checked(self, embeddings: Tensor) -> Tensor:
        self.require_width(embeddings)
        return embeddings.detach().to("cpu", torch.float32)
