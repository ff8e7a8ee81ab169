"""Clusters of prompts at several scales, and the kernel that they define."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from verl_vip.prediction.state import copied, require

#: Numbers of clusters, and the number of k-means starts for each.
_SIZES = (4, 8, 16, 32, 64)
_STARTS = 8
#: Least number of prompts a cluster.
_PROMPTS_PER_CLUSTER = 4
#: Largest number of principal components in which prompts are clustered.
_COMPONENTS = 32


@dataclass(frozen=True)
class Clusters:
    """`J` partitions of the embedding space, each into the Voronoi cells of its centres.

    The share of partitions that put two prompts into one cell is a kernel (Chapelle, Weston & Schölkopf, "Cluster
    kernels for semi-supervised learning", NIPS 2002). Prompts of one family (one template, source or topic) are alike
    however far apart they lie; prompts of different families are not, however close. Clustering needs embeddings only,
    so the kernel is informative before any outcome is known.

    Attributes:
        basis: A `d x q` float32 tensor. Embeddings are projected onto its columns.
        centres: A `J x K x q` float32 tensor.
        sizes: A `J` int64 tensor: partition `j` uses the first `sizes[j]` of its `K` centres.
        num_prompts: The number of distinct prompts that were clustered.
    """

    basis: Tensor
    centres: Tensor
    sizes: Tensor
    num_prompts: int

    @classmethod
    def fit(cls, embeddings: Tensor) -> "Clusters | None":
        """Partition `B x d` embeddings by k-means; None if there are too few distinct ones."""
        from sklearn.cluster import KMeans

        points = torch.unique(embeddings.detach().to("cpu", torch.float32), dim=0)
        sizes = [size for size in _SIZES if size * _PROMPTS_PER_CLUSTER <= len(points) for _ in range(_STARTS)]
        if not sizes:
            return None
        rank = min(_COMPONENTS, *points.shape)
        basis = torch.linalg.svd(points - points.mean(0), full_matrices=False).Vh[:rank].T.contiguous()
        projected = (points @ basis).numpy()
        centres = torch.zeros(len(sizes), max(sizes), rank)
        for row, size in enumerate(sizes):
            model = KMeans(size, n_init=1, max_iter=30, random_state=row).fit(projected)
            centres[row, :size] = torch.from_numpy(model.cluster_centers_)
        return cls(basis, centres, torch.tensor(sizes), len(points))

    def cells(self, embeddings: Tensor) -> Tensor:
        """Return a `B x J` int64 tensor: the cell of each of `B x d` float32 embeddings in each partition."""
        partitions, size, rank = self.centres.shape
        # |x - c|^2 / 2 without |x|^2 / 2, which is the same for all centres.
        half_square = self.centres.square().sum(2) / 2
        half_square[torch.arange(size) >= self.sizes[:, None]] = torch.inf
        projected = embeddings @ self.basis
        distance = torch.addmm(half_square.reshape(-1), projected, self.centres.reshape(-1, rank).T, alpha=-1)
        return distance.reshape(-1, partitions, size).argmin(2)

    def kernel(self, left: Tensor, right: Tensor) -> Tensor:
        """Return an `A x B` float32 tensor of the shares of partitions that put two embeddings into one cell."""
        if not (len(left) and len(right)):
            return torch.zeros(len(left), len(right))
        partitions, size, _ = self.centres.shape
        first = size * torch.arange(partitions)
        # Each row is a cell of a partition, with a one for every left prompt in it. The sum of a right prompt's rows
        # counts the partitions that it shares with each left prompt.
        members = torch.zeros(partitions * size, len(left))
        members.scatter_(0, (self.cells(left) + first).T, 1.0)
        return embedding_bag(self.cells(right) + first, members, mode="sum").T / partitions

    def state_dict(self) -> dict[str, Any]:
        """Return the projection, the centres and the sizes."""
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in vars(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Clusters":
        """Build clusters from their `state_dict`.

        Raises:
            StateError: If its parts do not fit together.
        """
        basis = copied(state["basis"], torch.float32, None, None)
        centres = copied(state["centres"], torch.float32, None, None, basis.shape[1])
        sizes = copied(state["sizes"], torch.int64, len(centres))
        num_prompts = int(state["num_prompts"])
        fits = len(centres) > 0 and num_prompts > 0 and bool(((sizes > 0) & (sizes <= centres.shape[1])).all())
        require(fits, "clusters have sizes that do not fit their centres")
        return cls(basis, centres, sizes, num_prompts)
