"""The kernel between the embeddings of two prompts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.drifting_gp.clusters import Clusters
from verl_vip.prediction.state import copied, require


@dataclass(frozen=True)
class Kernel:
    """A sum of three parts, `(1 - s - v) exp(-|x - y|^2 / (2 h^2)) + s (x - c) . (y - c) / r^2 + v K(x, y)`.

    The radial part says that close prompts are alike. The linear part says that success rises along some directions,
    and extends this to prompts far from every prompt that was observed. The third says that prompts of one cluster are
    alike; `K` is the cluster kernel.

    Attributes:
        lengthscale: `h`.
        linear_share: `s`, in [0, 1).
        cluster_share: `v`, in [0, 1 - s).
        centre: A `d` tensor `c`: the mean of typical embeddings.
        radius: `r`: the root mean square distance of typical embeddings from `c`.
        clusters: The partitions that define `K`. Without any, all prompts form one cluster.
    """

    lengthscale: float
    linear_share: float
    cluster_share: float
    centre: Tensor
    radius: float
    clusters: Clusters | None = None

    @classmethod
    def from_embeddings(cls, embeddings: Tensor, lengthscale: float = 1.0) -> "Kernel":
        """Build a radial kernel, with centre and radius from `B x d` embeddings."""
        points = embeddings.detach().to("cpu", torch.float32)
        centre = points.mean(0)
        radius = float((points - centre).square().sum(1).mean().sqrt())
        return cls(lengthscale, 0.0, 0.0, centre, radius if radius > 0 else 1.0)

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the `A x B` float64 kernel matrix of `A x d` and `B x d` float32 embeddings."""
        radial_share = 1 - self.linear_share - self.cluster_share
        same_cluster = self.cluster_kernel(left, right) if self.cluster_share else None
        # Single precision suffices once the centre is subtracted.
        left, right = left - self.centre, right - self.centre
        product = left @ right.T
        squared = (left.square().sum(1)[:, None] + right.square().sum(1) - 2 * product).clamp_min_(0).double()
        radial = squared.mul_(-0.5 / self.lengthscale**2).exp_().mul_(radial_share)
        if self.linear_share:
            radial.add_(product, alpha=self.linear_share / self.radius**2)
        if same_cluster is not None:
            radial.add_(same_cluster, alpha=self.cluster_share)
        return radial

    def cluster_kernel(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the `A x B` cluster kernel of `A x d` and `B x d` embeddings, from 0 to 1."""
        if self.clusters is None:
            return torch.ones(len(left), len(right))
        return self.clusters.kernel(left, right)

    def diagonal(self, points: Tensor) -> Tensor:
        """Return the `B` float64 values `k(x, x)`."""
        distance = (points - self.centre).square().sum(1).double() / self.radius**2
        return 1 - self.linear_share + self.linear_share * distance

    def with_shape(self, lengthscale: float, linear_share: float, cluster_share: float) -> "Kernel":
        """Return the kernel with another lengthscale and other shares, and the same centre and clusters."""
        return replace(self, lengthscale=lengthscale, linear_share=linear_share, cluster_share=cluster_share)

    def with_clusters(self, clusters: Clusters) -> "Kernel":
        """Return the kernel with other clusters."""
        return replace(self, clusters=clusters)

    def state_dict(self) -> dict[str, Any]:
        """Return the shape, the centre and the clusters."""
        return {**vars(self), "clusters": None if self.clusters is None else self.clusters.state_dict()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Kernel":
        """Build a kernel from its `state_dict`.

        Raises:
            StateError: If its parts do not fit together.
        """
        clusters = None if state["clusters"] is None else Clusters.from_state(state["clusters"])
        centre = copied(state["centre"], torch.float32, None)
        lengthscale, linear, cluster, radius = (
            float(state[name]) for name in ("lengthscale", "linear_share", "cluster_share", "radius")
        )
        shares = linear >= 0 and cluster >= 0 and linear + cluster <= 1
        require(shares, "kernel has shares outside [0, 1]")
        require(lengthscale > 0 and radius > 0, "kernel has a length that is not positive")
        require(clusters is None or len(clusters.basis) == len(centre), "kernel has clusters of another width")
        return cls(lengthscale, linear, cluster, centre, radius, clusters)
