"""What a strategy's selection means: which of the sampled rollouts the update uses, and how much each counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError

#: What of a `Selection`, beside `keep`, only an update that weighs its rows can follow.
Weighing = Literal["prompt_weight", "rollout_weight", "baseline"]


@dataclass(frozen=True)
class Selection:
    """Which of the sampled rollouts the update uses, and how much each counts.

    The update is the mean over prompts with kept rollouts of `prompt_weight * mean(rollout_weight * advantage *
    score)`, the inner mean taken over the prompt's kept rollouts. `SelectedRollouts` turns that into weights.

    Attributes:
        keep: `B` boolean tensors, one flag a rollout in the order sampled; None keeps everything.
        prompt_weight: A `B` tensor that multiplies each prompt's gradient; None means one for all.
        rollout_weight: `B` tensors, one factor a rollout in the order sampled; None means one for all.
        baseline: Which rollouts of a prompt its advantages are centred on: those kept, or all that were sampled.

    Raises:
        InvalidInputError: If something that only partial use makes meaningful is given without `keep`.
    """

    keep: tuple[Tensor, ...] | None = None
    prompt_weight: Tensor | None = None
    rollout_weight: tuple[Tensor, ...] | None = None
    baseline: Literal["kept", "sampled"] = "kept"

    def __post_init__(self) -> None:
        if self.keep is None and (self.rollout_weight is not None or self.baseline != "kept"):
            raise InvalidInputError("rollout weights and a baseline over all that was sampled need keep; give it too.")

    @property
    def weighs(self) -> frozenset[Weighing]:
        """Which of the weighings it has."""
        found: dict[Weighing, bool] = {
            "prompt_weight": self.prompt_weight is not None,
            "rollout_weight": self.rollout_weight is not None,
            "baseline": self.baseline != "kept",
        }
        return frozenset(name for name, there in found.items() if there)

    def require_fit(self, outcomes: Sequence[Tensor]) -> None:
        """Refuse a selection that is not over what was sampled.

        Args:
            outcomes: `B` reward tensors, all rounds together.

        Raises:
            InvalidInputError: If `keep` or `rollout_weight` is over other rollouts, `prompt_weight` is over other
                prompts, or a weight is not finite.
        """
        sizes = [len(rewards) for rewards in outcomes]
        for flags in (self.keep, self.rollout_weight):
            if flags is not None and [len(row) for row in flags] != sizes:
                raise InvalidInputError(
                    f"the selection is among {sum(len(row) for row in flags)} rollouts of {len(flags)} prompts where "
                    f"{sum(sizes)} of {len(sizes)} came back; go by the rewards that were sent."
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

    With A the advantage of a rollout i of prompt q and s its score, the gradient of its log-probability, the update is

        1/P sum_i weight_i A_i s_i    with    weight_i = w_q v_i / n_q,

    over the kept rollouts, where P prompts have kept rollouts, n_q of them are prompt q's, w is `prompt_weight` and v
    is `rollout_weight`. With w = v = 1 it is the mean over prompts of each prompt's mean over its rollouts, whose
    variance arXiv 2602.01601 analyses. Where prompts or rollouts are drawn, w or v in proportion to the inverse of the
    probability of being drawn keeps the expected update that of all of them (Horvitz & Thompson, JASA 1952).

    Attributes:
        rows: `K` int64, the place of each among the `N` rollouts, prompt by prompt in the order sampled.
        group: `K` int64, the prompt of each, from 0 to `B - 1`.
        rewards: `K` float64.
        prompt_weight: w, `B` float64.
        rollout_weight: v, `K` float64; None where the selection has none.
        unused: Sum and number (`B` float64 each) of every prompt's rewards that are not kept, where advantages are
            centred on all that was sampled; None where they are centred on what is kept. See `GroupedRewards.unused`.
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
            selection: What the strategy returned.
            outcomes: `B` reward tensors, all rounds together, `N` rewards in total.

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
        """n, a `B` int64 tensor: how many rollouts of each prompt are kept."""
        return torch.bincount(self.group, minlength=len(self.prompt_weight))

    @cached_property
    def num_prompts(self) -> int:
        """P, the number of prompts with kept rollouts."""
        return int((self.sizes > 0).sum())

    @cached_property
    def weights(self) -> Tensor:
        """`K` float64, what each kept rollout's advantage is multiplied by in the sum over prompts: w v / n."""
        weights = self.prompt_weight[self.group] / self.sizes[self.group]
        return weights if self.rollout_weight is None else weights * self.rollout_weight

    def rollout_weight_by_rank(self, rewards: Tensor, group: Tensor) -> Tensor:
        """Return v for the kept rollouts in another order, matched by the rank of their rewards within their prompt.

        A trainer's advantage estimator is not told which rollout a row is. Rollouts of a prompt with equal rewards are
        exchangeable, because rewards are all that a strategy has seen.

        Args:
            rewards: `K` rewards on any scale that keeps the order of each prompt's.
            group: `K` int64, the prompt of each.

        Raises:
            InvalidInputError: If they are of other prompts, or of other numbers of rollouts, than those kept.
        """
        if self.rollout_weight is None:
            return torch.ones(len(rewards), dtype=torch.float64)
        own, others = _by_reward(self.rewards, self.group), _by_reward(rewards, group)
        if not torch.equal(self.group[own], group[others]):
            raise InvalidInputError(
                f"the update has {len(rewards)} rollouts where {len(self.rows)} were kept, or of other prompts; it "
                "must have those that the strategy kept, as each has a weight of its own."
            )
        found = torch.empty(len(rewards), dtype=torch.float64)
        found[others] = self.rollout_weight[own]
        return found


def _by_reward(rewards: Tensor, group: Tensor) -> Tensor:
    """Return the order by prompt, and by reward within a prompt."""
    order = torch.argsort(rewards, stable=True)
    return order[torch.argsort(group[order], stable=True)]
