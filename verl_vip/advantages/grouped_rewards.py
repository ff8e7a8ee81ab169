"""The input of advantage estimators."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.beta_belief import BetaBelief


@dataclass(frozen=True)
class GroupedRewards:
    """The rewards of `N` rollouts of `B` prompts, with the rows of a prompt in any order.

    Attributes:
        rewards: An `N` float64 tensor.
        group: An `N` int64 tensor, the prompt of each rollout, from 0 to `B - 1`.
        num_groups: `B`. A prompt may have no rollout.
        reward_range: The rewards of a failed and of a successful rollout, which correspond to p = 0 and p = 1. A pair
            for all prompts, or a `B x 2` tensor with a pair for each.
        belief: The belief about the `B` success probabilities before sampling; None without a prediction.
        penalised: Whether a penalty that the belief does not cover was subtracted from the rewards, as verl does with
            `algorithm.use_kl_in_reward`.
        unused: For each prompt, the sum and the number (a `B` float64 tensor each) of the rewards of rollouts that were
            sampled but are not trained on, and are not among the rows. Baselines include them. None if there are none.
        score_coupling: See `predicted_baseline.least_variance_baseline`.
    """

    rewards: Tensor
    group: Tensor
    num_groups: int
    reward_range: tuple[float, float] | Tensor = (0.0, 1.0)
    belief: BetaBelief | None = None
    penalised: bool = False
    unused: tuple[Tensor, Tensor] | None = None
    score_coupling: float = 0.0

    def __post_init__(self) -> None:
        if self.rewards.ndim != 1 or self.rewards.shape != self.group.shape:
            raise InvalidInputError(
                f"rewards and group must be (N,) tensors of one length; got {tuple(self.rewards.shape)} and "
                f"{tuple(self.group.shape)}."
            )
        if self.rewards.dtype != torch.float64 or self.group.dtype != torch.int64:
            raise InvalidInputError("rewards must be float64 and group int64.")
        if isinstance(self.reward_range, Tensor) and self.reward_range.shape != (self.num_groups, 2):
            raise InvalidInputError(
                f"reward_range must be a pair, or a row of two for each of the {self.num_groups} prompts; got shape "
                f"{tuple(self.reward_range.shape)}."
            )
        if self.belief is not None and len(self.belief.mean) != self.num_groups:
            raise InvalidInputError(
                f"the belief is for {len(self.belief.mean)} prompts, but there are {self.num_groups}; give both the "
                "same prompts."
            )

    @cached_property
    def sizes(self) -> Tensor:
        """A `B` float64 tensor, the number of rollouts of each prompt."""
        return self.total(torch.ones_like(self.rewards))

    @cached_property
    def own_size(self) -> Tensor:
        """An `N` float64 tensor, the number of rollouts of each row's prompt."""
        return self.sizes[self.group]

    @cached_property
    def sampled_sizes(self) -> Tensor:
        """A `B` float64 tensor, the number of rewards of each prompt, including unused rollouts."""
        return self.sizes if self.unused is None else self.sizes + self.unused[1]

    @cached_property
    def sampled_sums(self) -> Tensor:
        """A `B` float64 tensor, the sum of the rewards of each prompt, including unused rollouts."""
        sums = self.total(self.rewards)
        return sums if self.unused is None else sums + self.unused[0]

    @cached_property
    def _ranges(self) -> Tensor:
        return torch.as_tensor(self.reward_range, dtype=torch.float64).expand(self.num_groups, 2)

    @cached_property
    def low(self) -> Tensor:
        """An `N` float64 tensor, the reward of a failed rollout of each row's prompt."""
        return self._ranges[self.group, 0]

    @cached_property
    def width(self) -> Tensor:
        """An `N` float64 tensor, the reward of a successful rollout of each row's prompt minus that of a failed one."""
        return (self._ranges[:, 1] - self._ranges[:, 0])[self.group]

    @cached_property
    def shares(self) -> Tensor:
        """An `N` float64 tensor, the rewards scaled so that a failure has 0 and a success has 1."""
        return (self.rewards - self.low) / self.width

    def total(self, values: Tensor) -> Tensor:
        """Return a `B` tensor, the sum of an `N` tensor over the rollouts of each prompt."""
        return torch.zeros(self.num_groups, dtype=values.dtype).index_add(0, self.group, values)

    def mean(self, values: Tensor) -> Tensor:
        """Return an `N` tensor, the mean of an `N` tensor over the rollouts of each row's prompt."""
        return (self.total(values) / self.sizes.clamp_min(1))[self.group]

    @cached_property
    def sampled_mean(self) -> Tensor:
        """An `N` float64 tensor, the mean reward of each row's prompt, including unused rollouts."""
        return (self.sampled_sums / self.sampled_sizes.clamp_min(1))[self.group]
