"""Groups of prompts that lie close together, at several scales."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from verl_vip.prediction.state import copied, require

#: Numbers of clusters, and how often each partition is made, from different starts.
_SIZES = (4, 8, 16, 32, 64)
_STARTS = 8
#: Least prompts for each cluster, and most principal components that prompts are clustered in.
_LEAST = 4
_COMPONENTS = 32


@dataclass(frozen=True)
class Clusters:
    """`J` partitions of the space of embeddings, each into the cells of its centres.

    The share of partitions that put two prompts into one cell is a kernel (Chapelle, Weston & Schoelkopf, "Cluster
    kernels for semi-supervised learning", NIPS 2002): prompts of one family, which come from one template, source or
    topic, are alike however far apart they lie, and prompts of different families are not, however near. What the
    embeddings tell is used before any outcome is known.

    Attributes:
        basis: A `d x q` float32 tensor onto whose columns embeddings are projected.
        centres: A `J x K x q` float32 tensor.
        sizes: A `J` int64 tensor, how many of the `K` centres each partition has; what stands behind them is nothing.
        made_of: How many prompts were clustered.
    """

    basis: Tensor
    centres: Tensor
    sizes: Tensor
    made_of: int

    @classmethod
    def of(cls, embeddings: Tensor) -> "Clusters | None":
        """Partition `B x d` embeddings by k-means; None where there are too few different ones."""
        from sklearn.cluster import KMeans

        points = torch.unique(embeddings.detach().to("cpu", torch.float32), dim=0)
        sizes = [size for size in _SIZES if size * _LEAST <= len(points) for _ in range(_STARTS)]
        if not sizes:
            return None
        rank = min(_COMPONENTS, *points.shape)
        basis = torch.linalg.svd(points - points.mean(0), full_matrices=False).Vh[:rank].T.contiguous()
        found = (points @ basis).numpy()
        centres = torch.zeros(len(sizes), max(sizes), rank)
        for row, size in enumerate(sizes):
            model = KMeans(size, n_init=1, max_iter=30, random_state=row).fit(found)
            centres[row, :size] = torch.from_numpy(model.cluster_centers_)
        return cls(basis, centres, torch.tensor(sizes), len(points))

    def cells(self, embeddings: Tensor) -> Tensor:
        """Return the `B x J` int64 cells of `B x d` float32 embeddings."""
        partitions, size, rank = self.centres.shape
        height = self.centres.square().sum(2) / 2
        height[torch.arange(size) >= self.sizes[:, None]] = torch.inf
        away = torch.addmm(height.reshape(-1), embeddings @ self.basis, self.centres.reshape(-1, rank).T, alpha=-1)
        return away.reshape(-1, partitions, size).argmin(2)

    def kernel(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the `A x B` float32 shares of partitions that put `A x d` and `B x d` embeddings together."""
        if not (len(left) and len(right)):
            return torch.zeros(len(left), len(right))
        partitions, size, _ = self.centres.shape
        begin = size * torch.arange(partitions)
        # One row for each cell of each partition, with a one for every left prompt in it: what a right prompt has in
        # common with them is the sum over its own cells.
        members = torch.zeros(partitions * size, len(left))
        members.scatter_(0, (self.cells(left) + begin).T, 1.0)
        return embedding_bag(self.cells(right) + begin, members, mode="sum").T / partitions

    def state_dict(self) -> dict[str, Any]:
        """Return the projection and the centres."""
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in vars(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Clusters":
        """Build what `state_dict` describes.

        Raises:
            StateError: If its parts do not fit together.
        """
        basis = copied(state["basis"], torch.float32, None, None)
        centres = copied(state["centres"], torch.float32, None, None, basis.shape[1])
        sizes = copied(state["sizes"], torch.int64, len(centres))
        made_of = int(state["made_of"])
        fits = len(centres) > 0 and made_of > 0 and bool(((sizes > 0) & (sizes <= centres.shape[1])).all())
        require(fits, "clusters do not have as many centres as they say")
        return cls(basis, centres, sizes, made_of)
