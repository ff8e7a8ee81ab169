"""What the update needs to know of each prompt of a batch, all of it fixed before the update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.selection import SelectedRollouts, Selection
from verl_vip.prediction.beta_belief import BetaBelief
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.strategies.outcomes import Outcomes, group_sizes, has_signal


@dataclass(frozen=True)
class UpdateTerms:
    """One batch of `B` prompts as the advantage estimators see it.

    Attributes:
        position: Where each uid stands, from 0 to `B - 1`.
        belief: What was believed of the `B` success probabilities.
        weight: A `B` tensor, the factor of each prompt's gradient.
        selected: Which rollouts the strategy kept, and how much each counts, on the scale of success; None where
            everything is used and counts the same.
        reward_range: A `B x 2` float64 tensor, the rewards of a failed and of a solved rollout.
    """

    position: Mapping[str, int]
    belief: BetaBelief
    weight: Tensor
    selected: SelectedRollouts | None
    reward_range: Tensor

    @classmethod
    def of_batch(
        cls,
        uids: Sequence[str],
        prediction: Prediction,
        variance: GradientVariance,
        ranges: Sequence[tuple[float, float]],
        selected: SelectedRollouts | None = None,
    ) -> "UpdateTerms":
        """Gather the terms of `B` prompts.

        Args:
            uids: `B` identifiers.
            prediction: The `B` predictions that the counts were made from.
            variance: What is ascended, and with which estimator.
            ranges: `B` pairs, the rewards of a failed and of a solved rollout.
            selected: What the strategy wants on top.
        """
        slope = variance.prompt_weight(prediction)
        return cls(
            position={uid: place for place, uid in enumerate(uids)},
            belief=variance.belief(prediction),
            weight=slope if selected is None else slope * selected.prompt_weight,
            selected=selected,
            reward_range=torch.tensor(ranges, dtype=torch.float64).reshape(-1, 2),
        )

    @property
    def unused_rewards(self) -> tuple[Tensor, Tensor] | None:
        """Sum and number of each prompt's rewards that were sampled and are not kept, in the scorer's units.

        Two `B` tensors for baselines; None where the strategy centres advantages on what is kept.
        """
        if self.selected is None or self.selected.unused is None:
            return None
        shares, number = self.selected.unused
        low, high = self.reward_range.unbind(dim=1)
        return low * number + (high - low) * shares, number

    def rollout_factors(self, batch: GroupedRewards) -> Tensor:
        """Return the factor of each of the `N` rows; see `SelectedRollouts.rollout_weight_by_rank`."""
        if self.selected is None:
            return torch.ones_like(batch.rewards)
        return self.selected.rollout_weight_by_rank(batch.rewards, batch.group)


def with_rows(selection: Selection, outcomes: Outcomes) -> Selection:
    """Return a selection that verl can take a step with: the same, unless it keeps nothing.

    verl cannot take a step without rows. If the selection keeps nothing, the first prompt stays whose rewards are all
    alike, since an estimator that compares them gives it no advantage, verl's own included. Without one the first
    rollout stays, to which verl's own do give one, and where no rollout has a reward, all rows do. Our estimators give
    none of them a weight.

    Args:
        selection: What the strategy returned.
        outcomes: `B` reward tensors, all rounds together.
    """
    if selection.keep is None or any(bool(flags.any()) for flags in selection.keep):
        return selection
    nothing = torch.zeros(len(outcomes), dtype=torch.float64)
    if not any(len(rewards) for rewards in outcomes):
        return Selection(prompt_weight=nothing)
    keep = [torch.zeros(len(rewards), dtype=torch.bool) for rewards in outcomes]
    alike = ((group_sizes(outcomes) > 1) & ~has_signal(outcomes)).nonzero()[:, 0].tolist()
    if alike:
        keep[alike[0]][:] = True
    else:
        next(flags for flags in keep if len(flags))[0] = True
    return Selection(keep=tuple(keep), prompt_weight=nothing)


def kept_rollouts(selection: Selection) -> list[list[int]] | None:
    """Return the positions of each prompt's kept rollouts, in the order sampled; None where all are kept."""
    return None if selection.keep is None else [flags.nonzero()[:, 0].tolist() for flags in selection.keep]
