"""What a strategy's selection means for the rows of verl's batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from verl_vip.strategies.contract import Selection
from verl_vip.strategies.outcomes import Outcomes, group_sizes, has_signal


@dataclass(frozen=True)
class RowWeights:
    """How the update weighs the rows of a step, by the uid of their prompt; what is missing weighs one.

    Attributes:
        prompt: A factor of each prompt's gradient.
        rollout: Factors of a prompt's kept rollouts, ordered by reward. verl's advantage estimator is not told which
            rollout a row is, so that they are matched by rank; equal rewards are exchangeable, because rewards are
            all that a strategy has seen.
        baseline: Mean and number of all rewards sampled of a prompt, where advantages are centred on those and not
            on the kept ones.
    """

    prompt: Mapping[str, float] = field(default_factory=dict)
    rollout: Mapping[str, Tensor] = field(default_factory=dict)
    baseline: Mapping[str, tuple[float, int]] = field(default_factory=dict)


def kept_rollouts(selection: Selection, outcomes: Outcomes) -> list[list[int]] | None:
    """Return the positions of each prompt's kept rollouts, in the order sampled; None where all are kept.

    verl cannot take a step without rows. If the selection keeps nothing, the first prompt stays whose rewards are all
    alike, since an estimator that compares them gives it no advantage, verl's own included. Without one the first
    rollout stays, to which verl's own do give one. `row_weights` gives neither a weight.

    Args:
        selection: What the strategy returned.
        outcomes: `B` reward tensors, all rounds together.
    """
    if selection.keep is None or not any(len(rewards) for rewards in outcomes):
        return None
    kept: list[list[int]] = [flags.nonzero()[:, 0].tolist() for flags in selection.keep]
    if not any(kept):
        alike = ((group_sizes(outcomes) > 1) & ~has_signal(outcomes)).nonzero()[:, 0].tolist()
        if alike:
            kept[alike[0]] = list(range(len(outcomes[alike[0]])))
        else:
            kept[next(row for row, rewards in enumerate(outcomes) if len(rewards))] = [0]
    return kept


def row_weights(
    selection: Selection, outcomes: Outcomes, uids: Sequence[str], ranges: Sequence[tuple[float, float]]
) -> RowWeights:
    """Return the selection by uid, for the advantage estimator.

    Args:
        selection: What the strategy returned.
        outcomes: `B` tensors of rewards in [0, 1], all rounds together.
        uids: `B` identifiers.
        ranges: `B` pairs, what 0 and 1 are in the scorer's rewards, which the estimator sees.
    """
    if selection.keep is not None and not any(bool(flags.any()) for flags in selection.keep):
        return RowWeights(prompt=dict.fromkeys(uids, 0.0))
    weights = selection.prompt_weight
    prompt = {} if weights is None else dict(zip(uids, weights.tolist(), strict=True))
    rollout: dict[str, Tensor] = {}
    if selection.rollout_weight is not None and selection.keep is not None:
        for uid, factor, flags, rewards in zip(uids, selection.rollout_weight, selection.keep, outcomes, strict=True):
            rollout[uid] = factor[flags][torch.argsort(rewards[flags], stable=True)].to(torch.float64)
    baseline: dict[str, tuple[float, int]] = {}
    if selection.baseline == "sampled":
        for uid, rewards, (low, high) in zip(uids, outcomes, ranges, strict=True):
            if len(rewards):
                baseline[uid] = (low + (high - low) * float(rewards.mean()), len(rewards))
    return RowWeights(prompt, rollout, baseline)
