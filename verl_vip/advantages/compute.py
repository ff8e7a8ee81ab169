"""The entry point: computes the advantages for a trainer's loss from grouped rewards."""

import inspect
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from verl_vip.advantages.group_mean import dr_grpo, rloo
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.kalman import krpo
from verl_vip.advantages.max_rl import max_rl
from verl_vip.advantages.predicted_baseline import predicted_baseline
from verl_vip.advantages.prompt_weight import PromptWeight, row_factors
from verl_vip.advantages.reinforce import reinforce
from verl_vip.by_name import locate
from verl_vip.errors import ConfigError, InvalidInputError

#: Returns `N` float64 advantages for `N` grouped rewards, N at least 1, before any prompt weights.
AdvantageEstimator = Callable[[GroupedRewards], Tensor]

ADVANTAGES: Mapping[str, AdvantageEstimator] = {
    "rloo": rloo,
    "dr_grpo": dr_grpo,
    "predicted_baseline": predicted_baseline,
    "krpo": krpo,
    "max_rl": max_rl,
    "reinforce": reinforce,
}
#: The names of the estimators for verl's `algorithm.adv_estimator`, with their keys in `ADVANTAGES`.
VERL_NAMES: Mapping[str, str] = {f"vip_{name}": name for name in ADVANTAGES}
#: The setting that names an estimator, and the kind of estimators in `verl_vip.by_name`.
ESTIMATOR_SETTING = "algorithm.adv_estimator"
_PLACES = {verls: f"{ADVANTAGES[name].__module__}:{ADVANTAGES[name].__name__}" for verls, name in VERL_NAMES.items()}


def find_estimator(name: str) -> AdvantageEstimator:
    """Return the estimator with this name.

    Args:
        name: A key of `VERL_NAMES`, an entry point of the group "verl_vip.advantages", or "package.module:function".

    Raises:
        ConfigError: If the name is unknown, or its object cannot be imported or is not a function of one argument.
    """
    found = locate(ESTIMATOR_SETTING, name, _PLACES)
    try:
        inspect.signature(found).bind(None)
        takes_rewards = not isinstance(found, type)
    except TypeError:
        takes_rewards = False
    if not takes_rewards:
        raise ConfigError(
            f"{ESTIMATOR_SETTING} {name!r} must be a function that takes a GroupedRewards and returns an advantage "
            "for each reward; give the name of such a function."
        )
    estimator: AdvantageEstimator = found
    return estimator


def compute_advantages(
    batch: GroupedRewards,
    *,
    estimator: str | AdvantageEstimator,
    prompt_weight: PromptWeight = "equal",
    weight: Tensor | None = None,
    rows: int | None = None,
) -> Tensor:
    """Return the `N` advantages for which the mean over rows of advantage times score is the desired gradient.

    Args:
        batch: The grouped rewards.
        estimator: A key of `ADVANTAGES`, or a function with the same signature.
        prompt_weight: "equal" for the mean over prompts of each prompt's mean, "rows" for the mean over rows.
        weight: A `B` tensor of factors for each prompt's gradient, for example of `utility_slope`; None means ones.
        rows: The number of rows that the loss divides by; None means `N`. See `row_factors`.

    Raises:
        InvalidInputError: If the estimator is unknown, needs data that the batch lacks, or returns anything but `N`
            finite float64 advantages.

    Example:
        >>> import torch
        >>> batch = GroupedRewards(torch.tensor([1.0, 0.0, 1.0]).double(), torch.tensor([0, 0, 1]), 2)
        >>> compute_advantages(batch, estimator="rloo", prompt_weight="rows")
        tensor([ 1., -1.,  0.], dtype=torch.float64)
    """
    if isinstance(estimator, str):
        if estimator not in ADVANTAGES:
            raise InvalidInputError(f"there is no advantage estimator {estimator!r}; known: {', '.join(ADVANTAGES)}.")
        estimator = ADVANTAGES[estimator]
    if not len(batch.rewards):
        return batch.rewards
    advantages = estimator(batch)
    _require_advantages(estimator, advantages, batch)
    advantages = advantages * row_factors(batch, prompt_weight, rows)
    return advantages if weight is None else advantages * weight.double()[batch.group]


def _require_advantages(estimator: AdvantageEstimator, found: object, batch: GroupedRewards) -> None:
    right = isinstance(found, Tensor) and found.shape == batch.rewards.shape and found.dtype == torch.float64
    if not (right and bool(torch.as_tensor(found).isfinite().all())):
        what = f"{found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise InvalidInputError(
            f"the advantage estimator {getattr(estimator, '__name__', estimator)} returned {what} for "
            f"{len(batch.rewards)} rewards; it must return a finite float64 advantage for each, in their order."
        )
