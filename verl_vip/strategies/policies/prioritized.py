"""Prompts drawn from a pool, with probabilities that grow with their expected reward variance."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection, Weighing
from verl_vip.annotations import Count, Range, Share, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.state import pack, restored_generator, seeded_generator, unpack


class Prioritized:
    """Draws candidates with probability proportional to `E[p(1-p)]^exponent`, for `group_size` rollouts each.

    The gradient of a rollout has a second moment proportional to p(1-p), times the square of the reward scale where
    scorers differ. Sampling in proportion to its root (exponent 1/2) is importance sampling with minimum variance. With
    `correction` 1, the drawn prompts are weighted by the inverse of their probability, which leaves the objective
    unchanged. With 0 they are not, so that prompts with a predictable outcome count less. The choice is a random draw
    and not the top of a ranking: prompts predicted as solved or hopeless are still drawn from time to time, which
    corrects wrong predictions. `even_share` makes a part of the draw independent of the prediction (a defensive
    mixture: Hesterberg, Technometrics 1995), so that a solved prompt that gets worse is soon sampled and trained again.

    The strategy is meant for groups of one or two rollouts, with the advantage estimator that takes the prediction as
    baseline. An estimator that compares the rollouts of a prompt needs groups of two or more. Without an even share,
    prompts predicted with certainty are drawn only if there are too few others.

    Args:
        pool_ratio: Candidates for each prompt of the nominal batch.
        exponent: Exponent of the expected variance; 0 draws evenly.
        correction: Exponent of the inverse probability in a prompt's weight.
        group_size: Rollouts of a prompt that is drawn; at least the budget's lower bound.
        seed: Seed of the draws.
        even_share: Part of the draw that is independent of the prediction, from 0 to 1.

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
    ) -> None:
        self.pool_ratio = pool_ratio
        self.weighs: frozenset[Weighing] = frozenset({"prompt_weight"} if correction > 0 else ())
        self._exponent, self._correction, self._group_size = exponent, correction, group_size
        self._even_share = even_share
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the counts in one round; a remainder smaller than a group is not spent."""
        groups, size = affordable_groups(budget, self._group_size, len(prompts))
        variance = prediction.rescale(prediction.reward_variance.to(torch.float64).clamp_min(1e-6))
        priority = variance**self._exponent
        priority = (1 - self._even_share) * priority / priority.mean() + self._even_share
        probability = inclusion_probabilities(priority, groups)
        drawn = systematic_sample(probability, groups, self._generator)
        weight = None
        if self._correction > 0:
            # The chosen prompts' weights are one on average.
            weight = probability**-self._correction
            weight = weight * groups / (weight * probability).sum()
        yield same_counts(len(prompts), drawn, size)
        return Selection(prompt_weight=weight)

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return pack("prioritized", generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "prioritized", "generator") as values:
            self._generator = restored_generator(values["generator"])


def inclusion_probabilities(priority: Tensor, count: int) -> Tensor:
    """Return probabilities in proportion to priorities, none above one, that sum to `count`.

    Args:
        priority: A `B` float64 tensor, positive.
        count: The number of rows to draw, at most `B`.

    Returns:
        A `B` float64 tensor. Entries that would exceed one are one, and the others share the rest.
    """
    descending, order = priority.sort(descending=True, stable=True)
    remaining = descending.flip(0).cumsum(0).flip(0)  # of each entry and all smaller ones
    left = count - torch.arange(len(priority), dtype=torch.float64)
    # Entry i is certain if its share of what the first i entries leave is at least one.
    certain = int((descending * left >= remaining).long().cumprod(0).sum())
    certain = min(certain, count)
    share = torch.ones_like(descending)
    if certain < len(priority):
        share[certain:] = descending[certain:] * (count - certain) / remaining[certain]
    return torch.empty_like(share).index_copy(0, order, share.clamp_max(1.0))


def systematic_sample(probability: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Draw `count` different rows, row i with probability `probability[i]`.

    The rows lie in random order on a line, each as long as its probability. Equidistant points, one apart, select them.

    Args:
        probability: A `B` float64 tensor in [0, 1] that sums to `count`.
        count: The number of rows to draw.
        generator: Draws the order and the position of the first point.
    """
    order = torch.randperm(len(probability), generator=generator)
    first = torch.rand(1, generator=generator, dtype=torch.float64)
    ends = probability[order].cumsum(0)
    points = torch.arange(count, dtype=torch.float64) + first
    found = torch.searchsorted(ends * (count / ends[-1]), points, right=True).clamp_max(len(ends) - 1)
    return sorted(set(order[found].tolist()))
