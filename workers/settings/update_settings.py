"""verl's settings of the update: which of them keep the weight that the analysis gives each prompt.

With the advantages of `workers.advantage`, and w = 1/(B n) for a rollout of a prompt with n of them, verl's
`actor.loss_agg_mode` makes the gradient a sum over rollouts of w, the advantage, and

| mode | the rollout's score |
|---|---|
| seq-mean-token-mean | the mean over its tokens, as in the paper |
| seq-mean-token-sum | the sum over its tokens, the gradient of its log-probability |
| seq-mean-token-sum-norm | that sum over `actor.loss_scale_factor`, which must be set |
| token-sum | that sum times `data.train_batch_size * rollout.n`, a constant |
| token-mean | that sum over the mean response length of the mini-batch |

The last is the one where prompts meet: their weights stay equal, and the length of everybody's responses scales the
whole step.
"""

from collections.abc import Collection
from reprlib import repr as shortened

from verl_vip.advantages.compute import VERL_NAMES
from verl_vip.annotations import Range
from verl_vip.by_name import nearest
from verl_vip.config import VipConfig
from verl_vip.strategies.contract import Weighing
from verl_vip.workers.settings.verl_config import VerlConfig

#: Advantage estimators of `workers.advantage` by the objective whose variance they have.
ESTIMATORS = {name: f"vip_{name}" for name in ("rloo", "dr_grpo", "predicted_baseline")}
#: verl's ways to sum a loss up.
LOSS_MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
#: What needs neither a group nor a prediction, and so goes with every objective.
_REINFORCE = "vip_reinforce"
#: Estimators of verl's that end a run at its first update, and why.
_UNUSABLE = {
    "gdpo": "needs the parts of each reward, which verl's trainer does not hand to it",
    "optimal_token_baseline": "needs the sums of squared token probabilities, which verl's trainer does not hand to it",
    "remax": "needs the rewards of greedy responses, which verl's trainer does not hand to it",
    "tir_optimal_token_baseline": "needs sums of squared token probabilities, which verl's trainer does not hand to it",
}
_ESTIMATOR, _KL_IN_REWARD = "algorithm.adv_estimator", "algorithm.use_kl_in_reward"
_ACTOR = "actor_rollout_ref.actor"


def weighs_rows(config: VerlConfig) -> bool:
    """Whether the advantage estimator is one of verl-vip's, which weight the rows."""
    return config.text(_ESTIMATOR) in VERL_NAMES


def loss_mode(config: VerlConfig) -> str:
    """Return how verl sums the loss up."""
    return config.one_of(f"{_ACTOR}.loss_agg_mode", LOSS_MODES)


def update_refusals(config: VerlConfig, vip: VipConfig) -> list[str]:
    """Return what is wrong with the update's settings, one sentence each with what to set instead."""
    estimator = config.text(_ESTIMATOR)
    scale = config.number_if_any(f"{_ACTOR}.loss_scale_factor", Range(above=0, most=1e12))
    found = _estimator_refusals(config, estimator)
    if estimator in ESTIMATORS.values() and estimator != ESTIMATORS[vip.objective]:
        found.append(
            f"algorithm.adv_estimator={estimator} does not have the variance that vip.objective={vip.objective} "
            f"minimises; set algorithm.adv_estimator={ESTIMATORS[vip.objective]}."
        )
    elif vip.objective == "predicted_baseline" and estimator not in (ESTIMATORS[vip.objective], _REINFORCE):
        found.append(
            f"algorithm.adv_estimator={estimator} has no baseline for groups as small as "
            "vip.objective=predicted_baseline makes; set algorithm.adv_estimator=vip_predicted_baseline or "
            f"{_REINFORCE}."
        )
    if loss_mode(config) == "seq-mean-token-sum-norm" and scale is None:
        found.append(
            "actor.loss_agg_mode=seq-mean-token-sum-norm divides by the width of each micro-batch, so that a prompt's "
            "weight depends on which rows lie beside it; set "
            "actor_rollout_ref.actor.loss_scale_factor=${data.max_response_length}."
        )
    if vip.utility != "success" and estimator not in VERL_NAMES:
        found.append(
            f"algorithm.adv_estimator={estimator} does not apply the weight of vip.utility={vip.utility}; set "
            f"algorithm.adv_estimator={ESTIMATORS[vip.objective]}, or vip.utility=success."
        )
    if vip.utility != "success" and estimator == "vip_max_rl":
        found.append(
            "algorithm.adv_estimator=vip_max_rl has a utility of its own, which vip.utility would multiply; "
            "set vip.utility=success."
        )
    if config.flag(_KL_IN_REWARD) and estimator == "vip_max_rl":
        found.append(
            "algorithm.adv_estimator=vip_max_rl divides by the group's mean reward, which a KL penalty takes to zero "
            "and below; set algorithm.use_kl_in_reward=False, and actor_rollout_ref.actor.use_kl_loss=True if need be."
        )
    return found


def _estimator_refusals(config: VerlConfig, estimator: str) -> list[str]:
    """Return why verl would find no such estimator, or not give it what it needs, when it is first asked."""
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

    known = VERL_NAMES.keys() | ADV_ESTIMATOR_REGISTRY.keys()
    if estimator not in known:
        return [f"there is no algorithm.adv_estimator={shortened(estimator)}; {nearest(estimator, known)}"]
    if estimator in _UNUSABLE:
        return [f"algorithm.adv_estimator={estimator} {_UNUSABLE[estimator]}; choose another estimator."]
    if estimator == "gae" and not config.flag("critic.enable", absent=True):
        return ["algorithm.adv_estimator=gae needs a critic's values; set critic.enable=True, or another estimator."]
    return []


def selection_refusals(vip: VipConfig, weighs: Collection[Weighing], *, ours: bool, kl_in_reward: bool) -> list[str]:
    """Return why the update cannot follow what a strategy's selections may have, one sentence each.

    Args:
        vip: The settings of the run.
        weighs: See `Strategy.weighs`.
        ours: Whether the advantage estimator is one of verl-vip's, which weight the rows.
        kl_in_reward: Whether a KL penalty is subtracted from the rewards after the strategy saw them.
    """
    found = []
    if weighs and not ours:
        found.append(
            f"vip.strategy={vip.strategy} weighs what it trains on, and algorithm.adv_estimator does not pass "
            f"the weights on; set algorithm.adv_estimator={ESTIMATORS[vip.objective]}."
        )
    if kl_in_reward and not {"rollout_weight", "baseline"}.isdisjoint(weighs):
        found.append(
            f"vip.strategy={vip.strategy} centres or weighs rollouts by their rewards, which a KL penalty in the "
            "reward changes afterwards; set algorithm.use_kl_in_reward=False and "
            "actor_rollout_ref.actor.use_kl_loss=True."
        )
    return found


def update_notes(config: VerlConfig, vip: VipConfig, budget: int) -> list[str]:
    """Return what the user should know of settings that work but change what the analysis says.

    Args:
        config: verl's whole config.
        vip: The settings of the run.
        budget: Rollouts of a batch.
    """
    estimator = config.text(_ESTIMATOR)
    weighted, equal = estimator in VERL_NAMES, vip.prompt_weight == "equal"
    found = []
    if not weighted:
        found.append(
            f"algorithm.adv_estimator={estimator} is verl's own: a prompt weighs as much as it has rollouts, and "
            "vip.prompt_weight does not reach it"
        )
    elif estimator not in ESTIMATORS.values():
        found.append(
            f"no variance of {estimator} is known; a strategy that minimises one takes vip.objective={vip.objective}"
        )
    if weighted and equal and loss_mode(config) == "token-mean":
        found.append(
            "actor.loss_agg_mode=token-mean: prompts weigh alike, a rollout counts with the sum over its tokens, and "
            "the step shrinks as the batch's mean response grows"
        )
    entropy = config.number(f"{_ACTOR}.entropy_coeff", Range())
    if (config.flag(f"{_ACTOR}.use_kl_loss") or entropy != 0) and weighted and equal:
        found.append("the KL and entropy losses still weigh rows alike, hence a prompt by its count")
    if config.flag(_KL_IN_REWARD):
        found.append("counts are chosen for the variance of the scorer's rewards, without that of the KL penalty")
    if (steps := budget // rows_per_step(config)) > 1:
        found.append(
            f"{steps} optimiser steps a batch: counts minimise the variance of their sum at the policy that sampled"
        )
    return found


def rows_per_step(config: VerlConfig) -> int:
    """Return how many rows verl's optimiser steps take, each but for padding."""
    return config.whole(f"{_ACTOR}.ppo_mini_batch_size") * config.whole("actor_rollout_ref.rollout.n")


def loss_divisor(config: VerlConfig, budget: int) -> int | None:
    """Return what verl's loss divides the sum over a batch's rows by, all of its mini-batches together.

    Args:
        config: verl's whole config.
        budget: Rows of a batch, `data.train_batch_size * rollout.n`.

    Returns:
        That number of rows, however many came back; None where the divisor follows the rows that did.
    """
    return None if loss_mode(config) == "token-mean" else budget
