"""From rewards and a selection to the coefficients of one policy-gradient update."""

from dataclasses import dataclass

from torch import Tensor

from verl_vip.advantages.compute import ADVANTAGES
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.selection import SelectedRollouts, Selection
from verl_vip.allocation.allocate import ObjectiveName
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
    selected = SelectedRollouts.of(selection, outcomes)
    batch = GroupedRewards(selected.rewards, selected.group, len(outcomes), unused=selected.unused)
    term = selected.weights * ADVANTAGES[objective](batch)
    signal = batch.total(term * (selected.rewards - success[selected.group]))
    return Update(signal, batch.total(term.square()), selected.num_prompts, selected.sizes)
