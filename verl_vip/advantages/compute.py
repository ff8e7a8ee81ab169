"""The front door: from grouped rewards to the advantages that a trainer's loss takes."""

from collections.abc import Callable, Mapping

from torch import Tensor

from verl_vip.advantages.group_mean import dr_grpo, rloo
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.kalman import krpo
from verl_vip.advantages.max_rl import max_rl
from verl_vip.advantages.predicted_baseline import predicted_baseline
from verl_vip.advantages.prompt_weight import PromptWeight, row_factors
from verl_vip.advantages.reinforce import reinforce
from verl_vip.errors import InvalidInputError

#: `N` float64 advantages of `N` grouped rewards, before any weight of prompts.
AdvantageEstimator = Callable[[GroupedRewards], Tensor]

ADVANTAGES: Mapping[str, AdvantageEstimator] = {
    "rloo": rloo,
    "dr_grpo": dr_grpo,
    "predicted_baseline": predicted_baseline,
    "krpo": krpo,
    "max_rl": max_rl,
    "reinforce": reinforce,
}
#: The same by what verl knows them by, `algorithm.adv_estimator`.
VERL_NAMES: Mapping[str, str] = {f"vip_{name}": name for name in ADVANTAGES}


def compute_advantages(
    batch: GroupedRewards,
    *,
    estimator: str,
    prompt_weight: PromptWeight = "equal",
    weight: Tensor | None = None,
    rows: int | None = None,
) -> Tensor:
    """Return the `N` advantages whose mean over rows of advantage times score is the wanted gradient.

    Args:
        batch: The grouped rewards.
        estimator: A key of `ADVANTAGES`.
        prompt_weight: "equal" for the mean over prompts of each prompt's mean, "rows" for the mean over rows.
        weight: A `B` tensor that multiplies each prompt's gradient, for example `utility_slope`'s; None means one.
        rows: What the loss divides by; None means the rows that are there. See `row_factors`.

    Raises:
        InvalidInputError: If the estimator is unknown, or lacks what it needs.

    Example:
        >>> import torch
        >>> batch = GroupedRewards(torch.tensor([1.0, 0.0, 1.0]).double(), torch.tensor([0, 0, 1]), 2)
        >>> compute_advantages(batch, estimator="rloo", prompt_weight="rows")
        tensor([ 1., -1.,  0.], dtype=torch.float64)
    """
    if estimator not in ADVANTAGES:
        raise InvalidInputError(f"there is no advantage estimator {estimator!r}; known: {', '.join(ADVANTAGES)}.")
    advantages = ADVANTAGES[estimator](batch) * row_factors(batch, prompt_weight, rows)
    return advantages if weight is None else advantages * weight.double()[batch.group]
