"""Finite features whose products approximate a kernel (the Nyström approximation)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.contract import require_width
from verl_vip.prediction.drifting_gp.kernel import Kernel
from verl_vip.prediction.state import copied, require

#: A prompt adds no feature if the features miss less than this of its kernel.
_LEAST_RESIDUAL = 1e-3
#: Added to the diagonal of the inducing points' kernel matrix, which a linear kernel makes singular.
_JITTER = 1e-4
#: How far a saved factor may be from the kernel matrix of its points, relative to the largest entry.
_FACTOR_ERROR = 1e-2


class NystromFeatures:
    """Features `phi` with `phi(x) . phi(y) ~ k(x, y)`, nearly exact at chosen points.

    With inducing points `Z` and `L L^T = k(Z, Z) + jitter`, `phi(x) = L^-1 k(Z, x)` (the Nyström approximation;
    Williams & Seeger, NeurIPS 2000). The next inducing point is always the one with the largest residual variance,
    which is pivoted Cholesky factorisation. A further point adds one feature and leaves the others unchanged, so the
    set can grow while it is in use.

    Args:
        kernel: The kernel `k`.
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
            InvalidInputError: If the embeddings have another width than the inducing points.
        """
        kernel = self.kernel(self._points, self._checked(embeddings))
        features: Tensor = torch.linalg.solve_triangular(self._factor, kernel, upper=False).T
        return features

    def residual_variance(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Return the `B` values `k(x, x) - |phi(x)|^2 >= 0`, the part of the kernel that the features miss."""
        points = embeddings.detach().to("cpu", torch.float32)
        return (self.kernel.diagonal(points) - features.square().sum(1)).clamp_min(0)

    def grow(self, embeddings: Tensor, limit: int, features: Tensor | None = None) -> int:
        """Add inducing points, those embeddings with the largest residual variance first.

        Args:
            embeddings: `B x d` candidates.
            limit: Largest number of inducing points, those already chosen included.
            features: The candidates' `B x m` features, if they are already computed.

        Returns:
            The number of points added.
        """
        candidates = self._checked(embeddings)
        features = self(candidates) if features is None else features
        residual = self.residual_variance(candidates, features)
        added = 0
        while len(self) < limit and added < len(candidates):
            best = int(residual.argmax())
            if residual[best] < _LEAST_RESIDUAL:
                break
            row, scale = features[best : best + 1], (residual[best] + _JITTER).sqrt()
            kernel = self.kernel(candidates, candidates[best : best + 1])
            column = (kernel - features @ row.T) / scale
            features = torch.cat([features, column], 1)
            residual = (residual - column[:, 0].square()).clamp_min(0)
            residual[best] = 0
            self._factor = torch.nn.functional.pad(self._factor, (0, 1, 0, 1))
            self._factor[-1, :-1], self._factor[-1, -1] = row[0], scale
            self._points = torch.cat([self._points, candidates[best : best + 1]])
            added += 1
        return added

    def change_kernel(self, kernel: Kernel) -> Tensor:
        """Replace the kernel and keep the inducing points.

        Returns:
            The `m x m` change of basis `T`: at the inducing points, the new features with weights `w` give the same
            values as the old features with weights `T w`.
        """
        old = self._factor
        self.kernel = kernel
        gram = kernel(self._points, self._points)
        gram.diagonal().add_(_JITTER)
        self._factor = torch.linalg.cholesky(gram)
        basis: Tensor = torch.linalg.solve_triangular(old, self._factor, upper=False)
        return basis

    def state_dict(self) -> dict[str, Any]:
        """Return the kernel, the inducing points and their factor."""
        return {"kernel": self.kernel.state_dict(), "points": self._points.clone(), "factor": self._factor.clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "NystromFeatures":
        """Build features from their `state_dict`.

        Raises:
            StateError: If its parts do not fit together.
        """
        features = cls(Kernel.from_state(state["kernel"]))
        points = copied(state["points"], torch.float32, None, len(features.kernel.centre))
        factor = copied(state["factor"], torch.float64, len(points), len(points))
        gram = features.kernel(points, points)
        # The factor grew point by point from kernels in single precision, so it is close but not equal.
        error = (factor @ factor.T - gram).abs() / (1 + gram.diagonal().max() if len(points) else 1)
        lower = torch.equal(factor, factor.tril()) and bool((factor.diagonal() > 0).all())
        require(lower and bool((error < _FACTOR_ERROR).all()), "features are not those of their inducing points")
        features._points, features._factor = points, factor
        return features

    def require_width(self, embeddings: Tensor) -> None:
        """Raise `InvalidInputError` unless `B x d` embeddings are as wide as the inducing points."""
        require_width(embeddings, self._points.shape[1])

    def _checked(self, embeddings: Tensor) -> Tensor:
        self.require_width(embeddings)
        return embeddings.detach().to("cpu", torch.float32)
