"""Prompts drawn from a pool: evenly over groups, with probabilities that grow with their expected reward variance."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection, Weighing
from verl_vip.annotations import Count, Range, Share, checked_settings
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.state import pack, restored_generator, seeded_generator, unpack


class Prioritized:
    """Draws candidates with probability proportional to `E[p(1-p)]^exponent`, for `group_size` rollouts each.

    The gradient of a rollout has a second moment proportional to p(1-p), times the square of the reward scale where
    scorers differ. Sampling in proportion to its root (exponent 1/2) is importance sampling with minimum variance. The
    choice is a random draw and not the top of a ranking: prompts predicted as solved or hopeless are still drawn from
    time to time, which corrects wrong predictions.

    The draw decides what training ascends. With `correction` 1, the drawn prompts are weighted by the inverse of their
    probability, and training ascends the mean success probability of the data, as uniform sampling does. With 0, the
    default, it ascends the sum of w p, where w is proportional to `(1 - e) E[p(1-p)]^k / mean + e` with the exponent k
    and the even share e: another objective, in which prompts of medium difficulty count most, and which moves with the
    policy. `even_share` makes a part of the draw independent of the prediction (a defensive
    mixture: Hesterberg, Technometrics 1995), so that a solved prompt that gets worse is soon sampled and trained again.

    The strategy is meant for groups of one or two rollouts, with the advantage estimator that takes the prediction as
    baseline. An estimator that compares the rollouts of a prompt needs groups of two or more. Without an even share,
    prompts predicted with certainty are drawn only if there are too few others.

    With `balance`, every group of candidates gets the same number of places, or one for each of its candidates if those
    are fewer, and the probabilities hold within a group. With exponent 0 this is a balanced draw without any
    prediction, the first thing to try if your data have labels of different difficulty.

    Args:
        pool_ratio: Candidates for each prompt of the nominal batch.
        exponent: Exponent of the expected variance; 0 draws evenly.
        correction: Exponent of the inverse probability in a prompt's weight.
        group_size: Rollouts of a prompt that is drawn; at least the budget's lower bound.
        seed: Seed of the draws.
        even_share: Part of the draw that is independent of the prediction, from 0 to 1.
        balance: Which groups the draw is even over: prompts with the same label (`vip.balance_by`), k-means clusters of
            the candidates' embeddings, or none.
        clusters: Number of clusters; fewer if the candidates have fewer different embeddings.

    Raises:
        ConfigError: If a setting is out of range.
    """

    decides_beforehand = False

    @checked_settings
    def __init__(
        self,
        pool_ratio: Annotated[float, Range(least=1, most=1e6)] = 3.0,
        exponent: Annotated[float, Range(least=0, most=4)] = 0.5,
        correction: Share = 0.0,
        group_size: Count = 1,
        seed: int = 0,
        even_share: Share = 0.0,
        balance: Literal["none", "labels", "clusters"] = "none",
        clusters: Count = 32,
    ) -> None:
        self.pool_ratio = pool_ratio
        self.weighs: frozenset[Weighing] = frozenset({"prompt_weight"} if correction > 0 else ())
        self._exponent, self._correction, self.group_size = exponent, correction, group_size
        self._even_share, self._balance, self._clusters = even_share, balance, clusters
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the counts in one round; a remainder smaller than a group is not spent."""
        groups, size = affordable_groups(budget, self.group_size, len(prompts))
        variance = prediction.rescale(prediction.reward_variance.to(torch.float64).clamp_min(1e-6))
        priority = priorities(variance, self._exponent, self._even_share)
        membership = self._membership(prompts)
        probability = balanced_probabilities(priority, membership, groups)
        drawn = systematic_sample(probability, groups, self._generator, membership)
        weight = None
        if self._correction > 0:
            # The chosen prompts' weights are one on average.
            weight = probability**-self._correction
            weight = weight * groups / (weight * probability).sum()
        yield same_counts(len(prompts), drawn, size)
        return Selection(prompt_weight=weight)

    def _membership(self, prompts: Prompts) -> Tensor:
        """Return a `B` int64 tensor with the number of each prompt's group, from 0."""
        if self._balance == "labels":
            if prompts.labels is None:
                raise InvalidInputError("a draw that is balanced over labels needs a label for each prompt.")
            numbers = {label: number for number, label in enumerate(dict.fromkeys(prompts.labels))}
            return torch.tensor([numbers[label] for label in prompts.labels])
        if self._balance == "clusters":
            return cluster(prompts.embeddings, self._clusters)
        return torch.zeros(len(prompts), dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return pack("prioritized", generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "prioritized", "generator") as values:
            self._generator = restored_generator(values["generator"])


def priorities(variance: Tensor, exponent: float, even_share: float) -> Tensor:
    """Return how often each candidate is drawn, relative to an even draw: a `B` tensor with mean 1.

    Without a correction these are also the weights of what is ascended: the sum over candidates of priority times p.

    Args:
        variance: A `B` float64 tensor of expected reward variances, positive.
        exponent: Exponent of the variance.
        even_share: Part of the draw that is independent of the variance.
    """
    powers = variance**exponent
    return (1 - even_share) * powers / powers.mean() + even_share


def balanced_probabilities(priority: Tensor, membership: Tensor, count: int) -> Tensor:
    """Return inclusion probabilities that give every group of rows the same number of places.

    Args:
        priority: A `B` float64 tensor, positive; it decides within a group.
        membership: A `B` int64 tensor, the number of each row's group.
        count: The number of rows to draw, at most `B`.

    Returns:
        A `B` float64 tensor that sums to `count`. A group with fewer rows than its share of the places gets all of
        them, and the other groups share the rest.
    """
    sizes = torch.bincount(membership).to(torch.float64)
    places = inclusion_probabilities(torch.ones_like(sizes), count, limits=sizes)
    probability = torch.empty_like(priority)
    for group, share in enumerate(places.tolist()):
        rows = membership == group
        probability[rows] = inclusion_probabilities(priority[rows], share)
    return probability


def cluster(embeddings: Tensor, count: int) -> Tensor:
    """Return the k-means cluster of each row of a `B x d` tensor, a `B` int64 tensor; at most `count` clusters."""
    from sklearn.cluster import KMeans

    points = torch.nn.functional.normalize(embeddings.detach().to("cpu", torch.float32), dim=1)
    count = min(count, len(torch.unique(points, dim=0)))
    found = KMeans(count, n_init=1, random_state=0).fit_predict(points.numpy())
    return torch.from_numpy(found).to(torch.int64)


def inclusion_probabilities(priority: Tensor, count: float, limits: Tensor | None = None) -> Tensor:
    """Return numbers in proportion to priorities, none above its limit, that sum to `count`.

    Args:
        priority: A `B` float64 tensor, positive.
        count: Their sum, at most that of the limits.
        limits: A `B` float64 tensor, positive; None for ones, which makes the numbers probabilities.

    Returns:
        A `B` float64 tensor. Entries that would exceed their limits are at them, and the others share the rest.
    """
    limits = torch.ones_like(priority) if limits is None else limits
    order = (priority / limits).argsort(descending=True, stable=True)
    descending, most = priority[order], limits[order]
    remaining = descending.flip(0).cumsum(0).flip(0)  # of each entry and all that follow it
    left = count - (most.cumsum(0) - most)
    # An entry is at its limit if its share of what the earlier entries leave is at least that.
    at_limit = int((descending * left >= most * remaining).long().cumprod(0).sum())
    share = most.clone()
    if at_limit < len(priority):
        share[at_limit:] = descending[at_limit:] * left[at_limit] / remaining[at_limit]
    return torch.empty_like(share).index_copy(0, order, torch.minimum(share, most))


def systematic_sample(
    probability: Tensor, count: int, generator: torch.Generator, membership: Tensor | None = None
) -> list[int]:
    """Draw `count` different rows, row i with probability `probability[i]`.

    The rows lie in random order on a line, each as long as its probability. Equidistant points, one apart, select them.
    The rows of a group lie side by side, so that a group gets its expected number of places to within one.

    Args:
        probability: A `B` float64 tensor in [0, 1] that sums to `count`.
        count: The number of rows to draw.
        generator: Draws the order and the position of the first point.
        membership: A `B` int64 tensor, the number of each row's group; None for a single group.
    """
    order = torch.randperm(len(probability), generator=generator)
    if membership is not None:
        order = order[membership[order].argsort(stable=True)]
    first = torch.rand(1, generator=generator, dtype=torch.float64)
    ends = probability[order].cumsum(0)
    points = torch.arange(count, dtype=torch.float64) + first
    found = torch.searchsorted(ends * (count / ends[-1]), points, right=True).clamp_max(len(ends) - 1)
    return sorted(set(order[found].tolist()))
