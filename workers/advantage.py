"""The advantage estimators of `verl_vip.advantages`, registered with verl under their names with the prefix `vip_`.

verl passes rewards, masks and uids to an estimator. The prediction for each prompt comes from the session.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import register_adv_est

from verl_vip.advantages.compute import VERL_NAMES, AdvantageEstimator, compute_advantages, find_estimator
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.prompt_weight import PromptWeight
from verl_vip.errors import IntegrationError
from verl_vip.workers.session.current import current_session
from verl_vip.workers.session.update_terms import UpdateTerms

#: The uids of the rows that verl pads a batch with start with this. Its other uids are hexadecimal.
PADDING_PREFIX = "pad"


def row_advantages(
    rewards: Tensor,
    uids: Sequence[str],
    terms: UpdateTerms,
    *,
    estimator: str | AdvantageEstimator,
    prompt_weight: PromptWeight = "equal",
    penalised: bool = False,
    score_coupling: float = 0.0,
    rows: int | None = None,
) -> Tensor:
    """Return the advantage of every row of a padded batch.

    Rows of padding, and rows whose reward is not a finite number, get zero and are otherwise ignored.

    Args:
        rewards: An `N` tensor, the reward of each row.
        uids: `N` uids, one per prompt; the rows of a prompt may be in any positions.
        terms: The batch's prompts.
        estimator: A key of `ADVANTAGES`, or a function like those.
        prompt_weight: See `verl_vip.config`.
        penalised: See `GroupedRewards`.
        score_coupling: See `verl_vip.config`.
        rows: The number of rows that the loss divides by; see `compute_advantages`.

    Returns:
        An `N` tensor of the rewards' dtype.

    Raises:
        IntegrationError: If a row belongs to a prompt that the session did not observe.
    """
    scored = rewards.isfinite().tolist()
    real = [row for row, uid in enumerate(uids) if scored[row] and not uid.startswith(PADDING_PREFIX)]
    try:
        group = torch.tensor([terms.position[uids[row]] for row in real], dtype=torch.int64)
    except KeyError as error:
        raise IntegrationError(
            f"the update contains rows of prompt {error.args[0]!r}, which is not in the observed batch; check that "
            "trainer.v1.sampler.custom_sampler is set to verl_vip's Observer."
        ) from error
    batch = GroupedRewards(
        rewards[real].double(),
        group,
        len(terms.position),
        terms.reward_range,
        terms.belief,
        penalised=penalised,
        unused=terms.unused_rewards,
        score_coupling=score_coupling,
    )
    found = compute_advantages(batch, estimator=estimator, prompt_weight=prompt_weight, weight=terms.weight, rows=rows)
    advantages = torch.zeros_like(rewards)
    advantages[real] = (found * terms.rollout_factors(batch)).to(rewards.dtype)
    return advantages


@cache  # verl refuses another function of the same name
def _for_verl(estimator: str | AdvantageEstimator) -> Callable[..., tuple[Tensor, Tensor]]:
    def advantages_and_returns(
        token_level_rewards: Tensor, response_mask: Tensor, index: Sequence[str], **_: Any
    ) -> tuple[Tensor, Tensor]:
        session = current_session()
        settings = session.settings
        with torch.no_grad():
            rows = row_advantages(
                token_level_rewards.sum(-1),
                [str(uid) for uid in index],
                session.update_terms,
                estimator=estimator,
                prompt_weight=settings.vip.prompt_weight,
                penalised=settings.kl_in_reward,
                score_coupling=settings.vip.score_coupling,
                # verl has padded the batch to whole optimiser steps, whose nominal rows its loss divides by.
                rows=None if settings.divides_by_tokens else len(index),
            )
            tokens = rows.unsqueeze(-1) * response_mask
        return tokens, tokens

    return advantages_and_returns


for _verl_name, _name in VERL_NAMES.items():
    register_adv_est(_verl_name)(_for_verl(_name))


def register_with_verl(name: str) -> None:
    """Make an estimator of another package known to verl by the name that the settings have for it.

    Args:
        name: An entry point of the group "verl_vip.advantages", or "package.module:function".

    Raises:
        ConfigError: If there is none; see `find_estimator`.
    """
    register_adv_est(name)(_for_verl(find_estimator(name)))
