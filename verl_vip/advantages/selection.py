"""A strategy's selection: the sampled rollouts that the update uses, and their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError

#: The fields of a `Selection`, besides `keep`, that need an update with row weights.
Weighing = Literal["prompt_weight", "rollout_weight", "baseline"]


@dataclass(frozen=True)
class Selection:
    """The sampled rollouts that the update uses, and their weights.

    The update is the mean over prompts with kept rollouts of `prompt_weight * mean(rollout_weight * advantage *
    score)`, where the inner mean is over the prompt's kept rollouts. `SelectedRollouts` computes the weights from this.

    Attributes:
        keep: `B` boolean tensors, one flag per rollout in the order sampled; None keeps all rollouts.
        prompt_weight: A `B` tensor that multiplies each prompt's gradient; None means ones.
        rollout_weight: `B` tensors, one factor per rollout in the order sampled; None means ones.
        baseline: The rollouts over which advantages are centred: the kept ones of a prompt, or all sampled ones.

    Raises:
        InvalidInputError: If `rollout_weight` or a baseline over sampled rollouts is given without `keep`.
    """

    keep: tuple[Tensor, ...] | None = None
    prompt_weight: Tensor | None = None
    rollout_weight: tuple[Tensor, ...] | None = None
    baseline: Literal["kept", "sampled"] = "kept"

    def __post_init__(self) -> None:
        if self.keep is None and (self.rollout_weight is not None or self.baseline != "kept"):
            raise InvalidInputError("rollout_weight and baseline='sampled' need keep; give it as well.")

    @property
    def weighs(self) -> frozenset[Weighing]:
        """The fields of this selection that need row weights."""
        found: dict[Weighing, bool] = {
            "prompt_weight": self.prompt_weight is not None,
            "rollout_weight": self.rollout_weight is not None,
            "baseline": self.baseline != "kept",
        }
        return frozenset(name for name, there in found.items() if there)

    def require_fit(self, outcomes: Sequence[Tensor]) -> None:
        """Refuse a selection whose shapes do not match the sampled rollouts.

        Args:
            outcomes: `B` reward tensors, over all rounds.

        Raises:
            InvalidInputError: If `keep` or `rollout_weight` has other numbers of rollouts, `prompt_weight` has another
                number of prompts, or a weight is not finite.
        """
        sizes = [len(rewards) for rewards in outcomes]
        for flags in (self.keep, self.rollout_weight):
            if flags is not None and [len(row) for row in flags] != sizes:
                raise InvalidInputError(
                    f"the selection is for {sum(len(row) for row in flags)} rollouts of {len(flags)} prompts, but "
                    f"{sum(sizes)} rollouts of {len(sizes)} prompts have rewards; select from those rewards."
                )
        if self.prompt_weight is not None and self.prompt_weight.shape != (len(sizes),):
            raise InvalidInputError(
                f"prompt_weight has shape {tuple(self.prompt_weight.shape)}, and there are {len(sizes)} prompts; give "
                "a factor for each."
            )
        weights = [] if self.prompt_weight is None else [self.prompt_weight]
        if not all(bool(one.isfinite().all()) for one in (*weights, *(self.rollout_weight or ()))):
            raise InvalidInputError("a weight of the selection is not finite; give finite factors.")


@dataclass(frozen=True)
class SelectedRollouts:
    """The `K` of a step's `N` sampled rollouts that the update uses, prompt by prompt in the order sampled.

    Let A_i be the advantage of rollout i and s_i its score, the gradient of its log-probability. The update is the sum
    over the kept rollouts

        1/P sum_i weight_i A_i s_i    with    weight_i = w_q v_i / n_q,

    where q is the prompt of rollout i, n_q its number of kept rollouts, P the number of prompts with kept rollouts, w
    `prompt_weight` and v `rollout_weight`. With w = v = 1 it is the mean over prompts of each prompt's mean over its
    rollouts, whose variance arXiv 2602.01601 analyses. If prompts or rollouts are drawn at random, weights w or v in
    proportion to the inverse of the inclusion probability leave the expected update unchanged (Horvitz & Thompson, JASA
    1952).

    Attributes:
        rows: `K` int64, the index of each among the `N` rollouts, prompt by prompt in the order sampled.
        group: `K` int64, the prompt of each, from 0 to `B - 1`.
        rewards: `K` float64.
        prompt_weight: w, `B` float64.
        rollout_weight: v, `K` float64; None if the selection has none.
        unused: The sum and the number (`B` float64 each) of every prompt's rewards that are not kept, if advantages are
            centred over all sampled rollouts; None if they are centred over the kept ones. See `GroupedRewards.unused`.
    """

    rows: Tensor
    group: Tensor
    rewards: Tensor
    prompt_weight: Tensor
    rollout_weight: Tensor | None = None
    unused: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, selection: Selection, outcomes: Sequence[Tensor]) -> "SelectedRollouts":
        """Apply a selection.

        Args:
            selection: The selection of the strategy.
            outcomes: `B` reward tensors over all rounds, `N` rewards in total.

        Raises:
            InvalidInputError: As `Selection.require_fit`.
        """
        selection.require_fit(outcomes)
        sizes = torch.tensor([len(rewards) for rewards in outcomes], dtype=torch.int64)
        group = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        rewards = torch.cat(tuple(outcomes)).double() if len(outcomes) else torch.zeros(0, dtype=torch.float64)
        keep = torch.ones_like(group, dtype=torch.bool)
        if selection.keep is not None:
            keep = torch.cat(selection.keep).bool()
        prompt_weight = torch.ones(len(sizes), dtype=torch.float64)
        if selection.prompt_weight is not None:
            prompt_weight = selection.prompt_weight.double()
        rollout_weight = None
        if selection.rollout_weight is not None:
            rollout_weight = torch.cat(selection.rollout_weight).double()[keep]
        unused = None
        if selection.baseline == "sampled":
            left = (~keep).double()
            nothing = torch.zeros(len(sizes), dtype=torch.float64)
            unused = nothing.index_add(0, group, left * rewards), nothing.index_add(0, group, left)
        return cls(keep.nonzero()[:, 0], group[keep], rewards[keep], prompt_weight, rollout_weight, unused)

    @cached_property
    def sizes(self) -> Tensor:
        """n, a `B` int64 tensor, the number of kept rollouts of each prompt."""
        return torch.bincount(self.group, minlength=len(self.prompt_weight))

    @cached_property
    def num_prompts(self) -> int:
        """P, the number of prompts with kept rollouts."""
        return int((self.sizes > 0).sum())

    @cached_property
    def weights(self) -> Tensor:
        """`K` float64, the factor of each kept rollout's advantage in the sum over prompts: w v / n."""
        weights = self.prompt_weight[self.group] / self.sizes[self.group]
        return weights if self.rollout_weight is None else weights * self.rollout_weight

    def rollout_weight_by_rank(self, rewards: Tensor, group: Tensor) -> Tensor:
        """Return v for the kept rollouts in another order, matched by the rank of their rewards within their prompt.

        A trainer's advantage estimator does not know which rollout a row belongs to. Rollouts of a prompt with equal
        rewards are exchangeable, because a strategy has seen only the rewards.

        Args:
            rewards: `K` rewards, on any scale that preserves their order within each prompt.
            group: `K` int64, the prompt of each.

        Raises:
            InvalidInputError: If the prompts or their numbers of rollouts differ from the kept ones.
        """
        if self.rollout_weight is None:
            return torch.ones(len(rewards), dtype=torch.float64)
        own, others = _by_reward(self.rewards, self.group), _by_reward(rewards, group)
        if not torch.equal(self.group[own], group[others]):
            raise InvalidInputError(
                f"the update has {len(rewards)} rollouts and the strategy kept {len(self.rows)}, or their prompts "
                "differ; update on exactly the rollouts that were kept, because each has its own weight."
            )
        found = torch.empty(len(rewards), dtype=torch.float64)
        found[others] = self.rollout_weight[own]
        return found


def _by_reward(rewards: Tensor, group: Tensor) -> Tensor:
    """Return the indices that sort rows by prompt, and by reward within a prompt."""
    order = torch.argsort(rewards, stable=True)
    return order[torch.argsort(group[order], stable=True)]
