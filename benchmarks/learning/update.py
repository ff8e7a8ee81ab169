"""From rewards to what each rollout's log probability is multiplied by in the loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.advantages.compute import ADVANTAGES
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.prompt_weight import row_factors
from verl_vip.advantages.utility import UtilityName, utility_slope
from verl_vip.prediction.beta_belief import BetaBelief
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.contract import Selection


@dataclass(frozen=True)
class Estimator:
    """How advantages are computed.

    Attributes:
        kind: A key of the library's `ADVANTAGES`, of which "reinforce" is what verl's own GRPO gives groups of one;
            "grpo" for verl's own, divided by the group's deviation; or "batch_mean", the reward less the mean of all
            other rollouts of the step, of whichever prompts.
        utility: What is ascended; its slope at the predicted probability weighs each prompt.
        utility_floor: See `utility_slope`.
        strongest: Most rollouts that a prediction is worth against the group's own.
        score_coupling: Of the predicted baseline.
    """

    kind: str = "rloo"
    utility: UtilityName = "success"
    utility_floor: float = 0.05
    strongest: float = 16.0
    score_coupling: float = 0.0


def coefficients(
    rewards: Tensor, group: Tensor, prediction: Prediction, selection: Selection, estimator: Estimator
) -> Tensor:
    """Return `N` float64 factors: the update's gradient is the sum of factor times gradient of log probability.

    Every prompt with kept rollouts has the same weight, but for the selection's and the utility's.

    Args:
        rewards: `N` float64, the rollouts of prompt 0 first, in the order sampled.
        group: `N` int64, the prompt of each.
        prediction: Of the `B` prompts, made before sampling.
        selection: What the strategy returned.
        estimator: How advantages are computed.
    """
    belief = BetaBelief.from_prediction(prediction, strongest=estimator.strongest)
    size = len(prediction.mean)
    own = {"grpo": _grpo, "batch_mean": _batch_mean}
    compute = {**ADVANTAGES, **own}[estimator.kind]
    keep = torch.ones_like(group, dtype=torch.bool) if selection.keep is None else torch.cat(selection.keep)
    known = {"belief": belief, "score_coupling": estimator.score_coupling}
    kept = GroupedRewards(rewards[keep], group[keep], size, **known)
    if selection.baseline == "kept":
        advantages = compute(kept)
    else:
        advantages = compute(GroupedRewards(rewards, group, size, **known))[keep]
    weight = utility_slope(estimator.utility, prediction.mean, floor=estimator.utility_floor)
    if selection.prompt_weight is not None:
        weight = weight * selection.prompt_weight.double()
    factor = advantages * weight[kept.group] * row_factors(kept, "equal") / max(len(kept.rewards), 1)
    if selection.rollout_weight is not None:
        factor = factor * torch.cat(selection.rollout_weight)[keep]
    return torch.zeros_like(rewards).masked_scatter(keep, factor)


def _grpo(batch: GroupedRewards) -> Tensor:
    """Return (r - mean) / deviation of the group (arXiv 2402.03300), zero for a group of one."""
    centred = batch.rewards - batch.mean(batch.rewards)
    variance = batch.mean(centred.square()) * batch.own_size / (batch.own_size - 1).clamp_min(1)
    return centred / (variance.sqrt() + 1e-6)


def _batch_mean(batch: GroupedRewards) -> Tensor:
    """Return r less the mean of the others, whatever their prompt; a lone rollout gets zero."""
    others = (batch.rewards.sum() - batch.rewards) / max(len(batch.rewards) - 1, 1)
    return batch.rewards - others if len(batch.rewards) > 1 else torch.zeros_like(batch.rewards)
