"""Computes the factor of each rollout's log probability in the loss from its reward."""

from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.advantages.compute import ADVANTAGES
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.prompt_weight import PromptWeight
from verl_vip.advantages.selection import SelectedRollouts, Selection
from verl_vip.advantages.utility import UtilityName, utility_slope
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.beta_belief import BetaBelief
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.outcomes import Outcomes


@dataclass(frozen=True)
class Estimator:
    """Settings of an advantage estimator.

    Attributes:
        kind: A key of the library's `ADVANTAGES`; "reinforce" equals verl's GRPO with groups of one. Or "grpo" for
            verl's GRPO, divided by the group's standard deviation. Or "batch_mean", the reward minus the mean of all
            other rollouts of the step.
        utility: The utility that is ascended; its slope at the predicted probability weights each prompt.
        utility_floor: See `utility_slope`.
        strongest: The most rollouts that a prediction counts for against the group's own.
        score_coupling: The coupling of the predicted baseline.
        prompt_weight: "equal" for the mean over prompts of each prompt's mean; "rows" for the mean over rollouts, as in
            the papers that leave verl's loss as it is.
    """

    kind: str = "rloo"
    utility: UtilityName = "success"
    utility_floor: float = 0.05
    strongest: float = 16.0
    score_coupling: float = 0.0
    prompt_weight: PromptWeight = "equal"


def coefficients(outcomes: Outcomes, prediction: Prediction, selection: Selection, estimator: Estimator) -> Tensor:
    """Return `N` float64 factors. The update's gradient is the sum of factor times gradient of the log probability.

    With equal weights, all prompts with kept rollouts have the same weight, apart from the weights of the selection and
    the utility.

    Args:
        outcomes: `B` reward tensors with all rounds, `N` rewards in total.
        prediction: The prediction of the `B` prompts before sampling.
        selection: The selection that the strategy returned.
        estimator: The advantage estimator.

    Raises:
        InvalidInputError: If "grpo" or "batch_mean" would have to centre on rollouts that are not kept.
    """
    own = {"grpo": _grpo, "batch_mean": _batch_mean}
    selected = SelectedRollouts.of(selection, outcomes)
    if selected.unused is not None and estimator.kind in own:
        raise InvalidInputError(
            f"{estimator.kind} centres on the kept rollouts; choose a strategy that does too, or rloo."
        )
    kept = GroupedRewards(
        selected.rewards,
        selected.group,
        len(outcomes),
        belief=BetaBelief.from_prediction(prediction, strongest=estimator.strongest),
        unused=selected.unused,
        score_coupling=estimator.score_coupling,
    )
    slope = utility_slope(estimator.utility, prediction.mean, floor=estimator.utility_floor)
    advantages = {**ADVANTAGES, **own}[estimator.kind](kept)
    found = torch.zeros(sum(map(len, outcomes)), dtype=torch.float64)
    weights = selected.weights / max(selected.num_prompts, 1)
    if estimator.prompt_weight == "rows":
        weights = selected.weights * kept.own_size / max(len(kept.rewards), 1)
    found[selected.rows] = advantages * slope[kept.group] * weights
    return found


def _grpo(batch: GroupedRewards) -> Tensor:
    """Return (r - mean) / deviation of the group (arXiv 2402.03300), zero for a group of one."""
    centred = batch.rewards - batch.mean(batch.rewards)
    variance = batch.mean(centred.square()) * batch.own_size / (batch.own_size - 1).clamp_min(1)
    return centred / (variance.sqrt() + 1e-6)


def _batch_mean(batch: GroupedRewards) -> Tensor:
    """Return r minus the mean of all other rollouts of the step; a single rollout gets zero."""
    others = (batch.rewards.sum() - batch.rewards) / max(len(batch.rewards) - 1, 1)
    return batch.rewards - others if len(batch.rewards) > 1 else torch.zeros_like(batch.rewards)
