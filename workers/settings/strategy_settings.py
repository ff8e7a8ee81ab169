"""A strategy against verl's settings: which combinations are refused, and what a run ascends."""

import math

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, InfeasibleBudgetError
from verl_vip.strategies.contract import Budget, Strategy
from verl_vip.strategies.groups import affordable_groups
from verl_vip.strategies.policies.prioritized import Prioritized
from verl_vip.workers.settings.run_settings import RunSettings
from verl_vip.workers.settings.update_settings import selection_refusals

#: A strategy that chooses from a pool has little choice below so many candidates for each prompt that it serves.
_LEAST_CHOICE = 1.5


def require_usable_strategy(settings: RunSettings, strategy: Strategy) -> None:
    """Refuse a strategy that the rest of the settings does not suit, before anything is loaded.

    Args:
        settings: The checked settings of the run.
        strategy: What `vip.strategy` names.

    Raises:
        ConfigError: If the strategy needs a larger batch, the synchronous trainer, or another update.
        InfeasibleBudgetError: If the bounds cannot hold the budget, or it does not pay for one prompt.
    """
    vip, prompts = settings.vip, settings.prompts_per_step
    if strategy.decides_beforehand or vip.budget is None:
        try:
            settings.budget.require_feasible(prompts)
        except InfeasibleBudgetError as error:
            raise InfeasibleBudgetError(
                "vip.lower and vip.upper cannot hold the budget (vip.budget, or data.train_batch_size * "
                f"actor_rollout_ref.rollout.n): {error}"
            ) from error
    if (served := _served(settings, strategy)) is not None and served >= prompts:
        raise ConfigError(
            f"vip.strategy={vip.strategy} chooses prompts from a pool, and the budget of {settings.budget.total} "
            f"rollouts serves all {prompts} prompts of the batch; {_pool_advice(settings.budget, strategy)}."
        )
    if settings.batches_ahead and not strategy.decides_beforehand:
        raise ConfigError(
            f"vip.strategy={vip.strategy} selects prompts or uses rewards, which is not supported for the batches "
            "that trainer.v1.trainer_mode=colocate_async samples ahead; set trainer.v1.trainer_mode=sync, or "
            "vip.strategy=vip."
        )
    for message in selection_refusals(
        vip, strategy.weighs, weights_rows=settings.weighs_rows, kl_in_reward=settings.kl_in_reward
    ):
        raise ConfigError(message)


def _served(settings: RunSettings, strategy: Strategy) -> int | None:
    """Return how many prompts of a batch the budget pays for; None if the strategy does not choose from a pool."""
    if strategy.pool_ratio <= 1:
        return None
    try:
        served, _ = affordable_groups(settings.budget, strategy.group_size, settings.prompts_per_step)
    except InfeasibleBudgetError as error:
        raise InfeasibleBudgetError(
            f"vip.budget, or data.train_batch_size * actor_rollout_ref.rollout.n, is below vip.lower: {error}"
        ) from error
    return served


def _pool_advice(budget: Budget, strategy: Strategy) -> str:
    """Return what to set for a pool of a strategy's `pool_ratio`, with about the same rollouts in a step.

    verl's batch is the pool. An optimiser step in verl has `ppo_mini_batch_size * rollout.n` rollouts, which is the
    budget here: one step per batch, as the variance analysis assumes. Both numbers of prompts are multiples of the
    prompts served, so that a number of devices that divides these divides all.
    """
    served, size = affordable_groups(budget, strategy.group_size, budget.total)
    ratio = math.ceil(strategy.pool_ratio)
    return (
        f"set data.train_batch_size={ratio * served}, vip.budget={served * size}, "
        f"actor_rollout_ref.actor.ppo_mini_batch_size={served} and actor_rollout_ref.rollout.n={size} for a pool of "
        f"{ratio} times what is served"
    )


def pool_warnings(settings: RunSettings, strategy: Strategy) -> list[str]:
    """Return a warning if a strategy that chooses prompts has little to choose from.

    Args:
        settings: The checked settings of the run.
        strategy: What `vip.strategy` names.
    """
    served, prompts = _served(settings, strategy), settings.prompts_per_step
    if served is None or prompts >= _LEAST_CHOICE * served:
        return []
    return [
        f"vip.strategy={settings.vip.strategy} serves {served} of the {prompts} prompts of a batch, which leaves "
        f"little to choose; {_pool_advice(settings.budget, strategy)}."
    ]


def strategy_notes(vip: VipConfig, strategy: Strategy) -> list[str]:
    """Return messages about what training ascends, if it is not the mean success probability of the data.

    Args:
        vip: The settings of the run.
        strategy: What `vip.strategy` names.
    """
    if strategy.pool_ratio <= 1 or "prompt_weight" in strategy.weighs:
        return []
    note = (
        f"vip.strategy={vip.strategy} chooses prompts from a pool without weighting them by the inverse of their "
        "probability: training ascends a mean of success probabilities in which a prompt counts as often as it is "
        "chosen, not the mean over the data"
    )
    if isinstance(strategy, Prioritized):
        note += "; vip.strategy_settings.correction=1.0 ascends the mean over the data"
    return [note]
