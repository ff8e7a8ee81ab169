"""verl's settings of the update: which of them preserve the weight that the analysis gives each prompt.

A rollout of a prompt with n rollouts has the weight w = 1/(B n). With the advantages of `workers.advantage`, the
gradient is a sum over rollouts of w times the advantage times a score, which depends on verl's `actor.loss_agg_mode`:

| mode | score of a rollout |
|---|---|
| seq-mean-token-mean | the mean over its tokens, as in the paper |
| seq-mean-token-sum | the sum over its tokens, the gradient of its log-probability |
| seq-mean-token-sum-norm | that sum over `actor.loss_scale_factor`, which must be set |
| token-sum | that sum times `actor.ppo_mini_batch_size * rollout.n`, a constant |
| token-mean | that sum over the mean response length of the mini-batch |

Only in the last mode do prompts affect each other. With one optimiser step per batch their weights stay equal, but the
mean response length scales the whole step. With several, each step has a mean length of its own, so that a prompt's
weight depends on the rows it shares a step with. In the other modes the weights over the steps of a batch are equal.

verl pads a batch to whole optimiser steps and divides every step by its nominal rows. The rows that the loss divides by
are therefore those of the padded batch, also if a strategy keeps fewer rows or rollouts failed.
"""

from collections.abc import Collection, Mapping
from reprlib import repr as shortened
from typing import get_args

from verl_vip.advantages.compute import ESTIMATOR_SETTING, VERL_NAMES, find_estimator
from verl_vip.advantages.selection import Weighing
from verl_vip.annotations import Range
from verl_vip.by_name import is_place, nearest, registered_names
from verl_vip.config import EstimatorName, VipConfig
from verl_vip.errors import ConfigError
from verl_vip.workers.settings.verl_config import VerlConfig

_PREFIX = "vip_"
#: The advantage estimators of `workers.advantage`, by the objective with their variance.
ESTIMATORS: Mapping[EstimatorName, str] = {name: f"{_PREFIX}{name}" for name in get_args(EstimatorName)}
#: verl's loss aggregation modes.
LOSS_MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
#: verl's policy losses that aggregate in one mode, whatever `actor.loss_agg_mode` says.
_OWN_LOSS_MODES = {"sapo": "seq-mean-token-mean"}
#: Needs neither a group nor a prediction, and so works with every objective.
_REINFORCE = "vip_reinforce"
#: verl's estimators that end a run at its first update, and why.
_UNUSABLE = {
    "gdpo": "needs the parts of each reward, which verl's trainer does not hand to it",
    "optimal_token_baseline": "needs the sums of squared token probabilities, which verl's trainer does not hand to it",
    "remax": "needs the rewards of greedy responses, which verl's trainer does not hand to it",
    "tir_optimal_token_baseline": "needs sums of squared token probabilities, which verl's trainer does not hand to it",
}
_KL_IN_REWARD = "algorithm.use_kl_in_reward"
_ACTOR = "actor_rollout_ref.actor"


def weighs_rows(estimator: str) -> bool:
    """Whether an advantage estimator goes through `workers.advantage`, which gives rows their weights."""
    return estimator in VERL_NAMES or is_of_another_package(estimator)


def is_of_another_package(estimator: str) -> bool:
    """Whether an advantage estimator is one that another package brings for this one; names of verl's win."""
    if is_place(estimator):
        return True
    if estimator in VERL_NAMES or estimator not in registered_names(ESTIMATOR_SETTING):
        return False
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY  # takes seconds to import

    known = ADV_ESTIMATOR_REGISTRY.get(estimator)
    return known is None or known.__module__ == "verl_vip.workers.advantage"


def advantage_estimator(config: VerlConfig, *, ask_verl: bool = True) -> str:
    """Return `algorithm.adv_estimator`.

    Args:
        config: verl's whole config.
        ask_verl: Whether verl's own estimators are known, including those that the user's modules have registered.

    Raises:
        ConfigError: If verl would find no such estimator, or not give it what it needs, when it is first asked.
    """
    estimator = config.text(ESTIMATOR_SETTING)
    if is_of_another_package(estimator):
        find_estimator(estimator)
        return estimator
    if ask_verl:
        _require_known(estimator)
    elif estimator.startswith(_PREFIX):
        find_estimator(estimator)
    if estimator in _UNUSABLE:
        raise ConfigError(f"algorithm.adv_estimator={estimator} {_UNUSABLE[estimator]}; choose another estimator.")
    if estimator == "gae" and not config.flag("critic.enable", absent=True):
        raise ConfigError(
            "algorithm.adv_estimator=gae needs a critic's values; set critic.enable=True, or another estimator."
        )
    return estimator


def _require_known(estimator: str) -> None:
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

    known = VERL_NAMES.keys() | ADV_ESTIMATOR_REGISTRY.keys()
    if estimator not in known:
        hint = nearest(estimator, known | registered_names(ESTIMATOR_SETTING))
        raise ConfigError(f"there is no algorithm.adv_estimator={shortened(estimator)}; {hint}")


def loss_mode(config: VerlConfig) -> str:
    """Return how verl's loss aggregates tokens and rows; one of `LOSS_MODES`."""
    named = config.one_of(f"{_ACTOR}.loss_agg_mode", LOSS_MODES)
    return _OWN_LOSS_MODES.get(_policy_loss(config), named)


def _policy_loss(config: VerlConfig) -> str:
    return config.text(f"{_ACTOR}.policy_loss.loss_mode")


def update_refusals(config: VerlConfig, vip: VipConfig) -> list[str]:
    """Return what is wrong with the update's settings: one sentence each, with what to set instead."""
    estimator, wanted = config.text(ESTIMATOR_SETTING), ESTIMATORS[vip.minimised]
    scale = config.number_if_any(f"{_ACTOR}.loss_scale_factor", Range(above=0, most=1e12))
    small_groups = estimator in (wanted, _REINFORCE) or is_of_another_package(estimator)
    found = []
    if estimator in ESTIMATORS.values() and estimator != wanted:
        found.append(
            f"algorithm.adv_estimator={estimator} does not have the variance that vip.objective={vip.objective} "
            f"minimises; set algorithm.adv_estimator={wanted}, or vip.objective=null, which follows it."
        )
    elif vip.minimised == "predicted_baseline" and not small_groups:
        found.append(
            f"algorithm.adv_estimator={estimator} has no baseline for groups as small as "
            "vip.objective=predicted_baseline makes; set algorithm.adv_estimator=vip_predicted_baseline or "
            f"{_REINFORCE}."
        )
    if loss_mode(config) == "seq-mean-token-sum-norm" and scale is None:
        found.append(
            "actor.loss_agg_mode=seq-mean-token-sum-norm divides by the width of each micro-batch, so a prompt's "
            "weight depends on the other rows in it; set "
            "actor_rollout_ref.actor.loss_scale_factor=${data.max_response_length}."
        )
    if _policy_loss(config) == "geo_mean":
        found.append(
            "actor.policy_loss.loss_mode=geo_mean ignores actor.loss_agg_mode, and it averages over the rows of each "
            "micro-batch: a prompt's weight would depend on the other rows in it; set "
            "actor_rollout_ref.actor.policy_loss.loss_mode=gspo, or vanilla."
        )
    if vip.utility != "success" and not weighs_rows(estimator):
        found.append(
            f"algorithm.adv_estimator={estimator} does not apply the weight of vip.utility={vip.utility}; set "
            f"algorithm.adv_estimator={wanted}, or vip.utility=success."
        )
    if vip.utility != "success" and estimator == "vip_max_rl":
        found.append(
            "algorithm.adv_estimator=vip_max_rl has its own utility, and vip.utility would be applied in addition; "
            "set vip.utility=success."
        )
    if config.flag(_KL_IN_REWARD) and estimator == "vip_max_rl":
        found.append(
            "algorithm.adv_estimator=vip_max_rl divides by the group's mean reward, which can be zero or negative with "
            "a KL penalty; set algorithm.use_kl_in_reward=False, and actor_rollout_ref.actor.use_kl_loss=True to keep "
            "the penalty."
        )
    return found


def selection_refusals(
    vip: VipConfig, weighs: Collection[Weighing], *, weights_rows: bool, kl_in_reward: bool
) -> list[str]:
    """Return why the update cannot apply a strategy's selections, one sentence each.

    Args:
        vip: The settings of the run.
        weighs: See `Strategy.weighs`.
        weights_rows: Whether the advantage estimator is one of verl-vip's, which apply the weights of rows.
        kl_in_reward: Whether a KL penalty is subtracted from the rewards after the strategy has seen them.
    """
    found = []
    if weighs and not weights_rows:
        found.append(
            f"vip.strategy={vip.strategy} weights its selection, and algorithm.adv_estimator does not apply the "
            f"weights; set algorithm.adv_estimator={ESTIMATORS[vip.minimised]}."
        )
    if kl_in_reward and not {"rollout_weight", "baseline"}.isdisjoint(weighs):
        found.append(
            f"vip.strategy={vip.strategy} centres or weights rollouts by their rewards, and a KL penalty in the reward "
            "changes these afterwards; set algorithm.use_kl_in_reward=False and "
            "actor_rollout_ref.actor.use_kl_loss=True."
        )
    return found


def update_notes(config: VerlConfig, vip: VipConfig, budget: int) -> list[str]:
    """Return messages about settings that work but change what the analysis says.

    Args:
        config: verl's whole config.
        vip: The settings of the run.
        budget: Rollouts of a batch.
    """
    estimator = config.text(ESTIMATOR_SETTING)
    weighted, equal = weighs_rows(estimator), vip.prompt_weight == "equal"
    found = []
    if not weighted:
        found.append(
            f"algorithm.adv_estimator={estimator} is verl's own: the weight of a prompt is its number of rollouts, and "
            "vip.prompt_weight has no effect"
        )
    elif estimator not in ESTIMATORS.values():
        found.append(
            f"the variance of {estimator} is not known; strategies that minimise a variance use that of "
            f"vip.objective={vip.minimised}"
        )
    if weighted and equal and loss_mode(config) == "token-mean":
        found.append(
            "actor.loss_agg_mode=token-mean: prompts have equal weights, a rollout contributes the sum over its "
            "tokens, and the step shrinks as the mean response length grows"
        )
    entropy = config.number(f"{_ACTOR}.entropy_coeff", Range())
    if (config.flag(f"{_ACTOR}.use_kl_loss") or entropy != 0) and weighted and equal:
        found.append("the KL and entropy losses weight rows equally, and so a prompt by its count")
    if config.flag(_KL_IN_REWARD):
        found.append("counts are chosen for the variance of the scorer's rewards, without the KL penalty")
    if (steps := budget // rows_per_step(config)) > 1:
        found.append(
            f"{steps} optimiser steps per batch: counts minimise the variance of their sum at the sampling policy"
        )
        if weighted and equal and loss_mode(config) == "token-mean":
            found.append(
                "actor.loss_agg_mode=token-mean with several optimiser steps per batch: each step divides by its own "
                "tokens, so a prompt's weight depends on the rows it shares a step with"
            )
    return found


def rows_per_step(config: VerlConfig) -> int:
    """Return the number of rows in each of verl's optimiser steps, without padding."""
    return config.whole(f"{_ACTOR}.ppo_mini_batch_size") * config.whole("actor_rollout_ref.rollout.n")


def divides_by_tokens(config: VerlConfig) -> bool:
    """Whether verl's loss divides a step by the tokens of its rows; otherwise it divides by the nominal rows."""
    return loss_mode(config) == "token-mean"
