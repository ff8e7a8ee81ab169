"""From rewards and a selection to the coefficients of one policy-gradient update."""

from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.advantages.compute import ADVANTAGES
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.allocation.allocate import ObjectiveName
from verl_vip.strategies.contract import Selection
from verl_vip.strategies.outcomes import Outcomes


@dataclass(frozen=True)
class Update:
    """The update that `Selection` defines, as a mean over prompts with kept rollouts.

    Attributes:
        signal: A `B` float64 tensor: the coefficient of each prompt's logit gradient. Its expectation is the
            prompt's weight times p(1-p).
        noise: A `B` float64 tensor: the variance of each prompt's part, in units of sigma_Z^2, given the rewards.
            Its expectation is the prompt's squared weight times p(1-p) f(n), with f the estimator's shape.
        used: How many prompts have kept rollouts. Sums of `signal` over `used`, and of `noise` over its square,
            are those of the update.
        trained: A `B` int64 tensor of kept rollouts.
    """

    signal: Tensor
    noise: Tensor
    used: int
    trained: Tensor


def compute_update(outcomes: Outcomes, selection: Selection, success: Tensor, objective: ObjectiveName) -> Update:
    """Compute the update's coefficients.

    A rollout with reward r has the score `(r - p) * logit gradient + noise of variance sigma_Z^2`; its first part
    is that of a policy that succeeds with probability p, its second is independent of the reward (arXiv 2602.01601,
    Assumption 4.1).

    Args:
        outcomes: `B` reward tensors, all rounds together.
        selection: What the strategy returned.
        success: A `B` float64 tensor of the true p.
        objective: The advantage estimator.
    """
    sizes = [len(rewards) for rewards in outcomes]
    group = torch.repeat_interleave(torch.arange(len(outcomes)), torch.tensor(sizes))
    rewards = torch.cat(outcomes).to(torch.float64)
    kept = torch.ones_like(rewards) if selection.keep is None else torch.cat(selection.keep).to(torch.float64)
    factor = kept if selection.rollout_weight is None else kept * torch.cat(selection.rollout_weight)
    centred_on = kept > 0 if selection.baseline == "kept" else torch.ones_like(kept, dtype=torch.bool)
    batch = GroupedRewards(rewards[centred_on], group[centred_on], len(outcomes))
    term = torch.zeros_like(rewards)
    term[centred_on] = ADVANTAGES[objective](batch)
    term *= factor
    trained = _per_group(kept, group, len(outcomes))
    divisor = trained.clamp_min(1)
    weight = torch.ones_like(success) if selection.prompt_weight is None else selection.prompt_weight.double()
    signal = weight * _per_group(term * (rewards - success[group]), group, len(outcomes)) / divisor
    noise = weight.square() * _per_group(term.square(), group, len(outcomes)) / divisor.square()
    return Update(signal, noise, int((trained > 0).sum()), trained.to(torch.int64))


def _per_group(values: Tensor, group: Tensor, groups: int) -> Tensor:
    return torch.zeros(groups, dtype=torch.float64).index_add(0, group, values)
