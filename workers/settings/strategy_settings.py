"""A strategy against verl's settings: which combinations are refused, and what a run ascends."""

import math

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, InfeasibleBudgetError
from verl_vip.strategies.contract import Strategy
from verl_vip.strategies.policies.prioritized import Prioritized
from verl_vip.workers.settings.run_settings import RunSettings
from verl_vip.workers.settings.update_settings import selection_refusals


def require_usable_strategy(settings: RunSettings, strategy: Strategy) -> None:
    """Refuse a strategy that the rest of the settings does not suit, before anything is loaded.

    Args:
        settings: The checked settings of the run.
        strategy: What `vip.strategy` names.

    Raises:
        ConfigError: If the strategy needs a larger batch, the synchronous trainer, or another update.
        InfeasibleBudgetError: If the bounds cannot hold the budget.
    """
    vip, total, prompts = settings.vip, settings.budget.total, settings.prompts_per_step
    if strategy.decides_beforehand or vip.budget is None:
        try:
            settings.budget.require_feasible(prompts)
        except InfeasibleBudgetError as error:
            raise InfeasibleBudgetError(
                "vip.lower and vip.upper cannot hold the budget (vip.budget, or data.train_batch_size * "
                f"actor_rollout_ref.rollout.n): {error}"
            ) from error
    if strategy.pool_ratio > 1 and vip.budget is None:
        raise ConfigError(
            f"vip.strategy={vip.strategy} selects each prompt from about {strategy.pool_ratio:g} candidates, and the "
            f"batch has no spare prompts; set data.train_batch_size={prompts * math.ceil(strategy.pool_ratio)}, "
            f"vip.budget={total} and actor.ppo_mini_batch_size={prompts}, which keeps the number of rollouts sampled "
            "and trained on in a step."
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
