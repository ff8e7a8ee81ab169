"""Prompts drawn from a pool of candidates, the more likely the more their rewards are expected to vary."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from verl_vip.annotations import Count, Range, Share, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Selection, Weighing
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.state import pack, restored_generator, seeded_generator, unpack


class Prioritized:
    """Serves each candidate with probability proportional to `E[p(1-p)]^exponent`, `group_size` rollouts each.

    A rollout's gradient has a second moment proportional to p(1-p) (times the square of what is at stake, where scorers
    pay on different scales), so that sampling in proportion to its root
    (exponent 1/2) has least variance for a given gradient (importance sampling). With `correction` 1 the chosen
    prompts are weighted by the inverse of their probability, which leaves the objective as it was; with 0 they are
    not, and prompts whose outcome is known beforehand count for less. A draw, and not the top of a ranking: what
    is predicted to be solved or hopeless comes up now and then, so that wrong predictions are found out. With
    `even_share` part of the draw is even whatever is predicted (a defensive mixture: Hesterberg, Technometrics 1995),
    so that a solved prompt that training makes worse is soon seen, and trained again.

    Made for groups of one or two and the advantage estimator that uses the prediction as baseline; an estimator
    that compares rollouts of one prompt needs two or more. Without an even share, prompts that are taken for certain
    are drawn only if too few others are there.

    Args:
        pool_ratio: Candidates for each prompt of the nominal batch.
        exponent: 0 draws evenly.
        correction: To what power the inverse probability weighs a prompt.
        group_size: Rollouts of a prompt that is drawn; at least the budget's lower bound.
        seed: Of the draws.
        even_share: Which part of the draw pays no regard to the prediction, from 0 to 1.

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
        """Yield counts once; see `Strategy.rounds`. What does not divide into groups is left unspent."""
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
        """Return the generator's state; see `Strategy.state_dict`."""
        return pack("prioritized", generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value; see `Strategy.load_state_dict`."""
        with unpack(state, "prioritized", "generator") as values:
            self._generator = restored_generator(values["generator"])


def inclusion_probabilities(priority: Tensor, count: int) -> Tensor:
    """Return probabilities in proportion to priorities, none above one, that sum to `count`.

    Args:
        priority: A `B` float64 tensor, positive.
        count: How many are to be drawn, at most `B`.

    Returns:
        A `B` float64 tensor. Entries that proportion would put above one are one, and the others share the rest.
    """
    descending, order = priority.sort(descending=True, stable=True)
    rest = descending.flip(0).cumsum(0).flip(0)  # of each entry and all smaller ones
    left = count - torch.arange(len(priority), dtype=torch.float64)
    # Entry i is certain if its share of what the first i leave over is at least one.
    certain = int((descending * left >= rest).long().cumprod(0).sum())
    certain = min(certain, count)
    share = torch.ones_like(descending)
    if certain < len(priority):
        share[certain:] = descending[certain:] * (count - certain) / rest[certain]
    return torch.empty_like(share).index_copy(0, order, share.clamp_max(1.0))


def systematic_sample(probability: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Draw `count` different rows, row i with probability `probability[i]`.

    Rows are put in random order on a line, each as long as its probability, and points one apart are laid over it.

    Args:
        probability: A `B` float64 tensor in [0, 1] that sums to `count`.
        count: How many rows.
        generator: Of the order and of where the first point lies.
    """
    order = torch.randperm(len(probability), generator=generator)
    first = torch.rand(1, generator=generator, dtype=torch.float64)
    ends = probability[order].cumsum(0)
    points = torch.arange(count, dtype=torch.float64) + first
    found = torch.searchsorted(ends * (count / ends[-1]), points, right=True).clamp_max(len(ends) - 1)
    return sorted(set(order[found].tolist()))
