"""The rewards of a step, and statistics of each prompt's rewards."""

from collections.abc import Sequence

import torch
from torch import Tensor

#: `B` reward tensors, one for each prompt, of different lengths.
Outcomes = tuple[Tensor, ...]

#: A reward variance below this is rounding error.
_NO_VARIANCE = 1e-12


def join(rounds: Sequence[Outcomes]) -> Outcomes:
    """Concatenate each prompt's rewards over the rounds of a step, in the order sampled."""
    return tuple(torch.cat(parts) for parts in zip(*rounds, strict=True))


def group_sizes(outcomes: Outcomes) -> Tensor:
    """Return a `B` int64 tensor of how many rewards each prompt has."""
    return torch.tensor([len(rewards) for rewards in outcomes], dtype=torch.int64)


def reward_means(outcomes: Outcomes) -> Tensor:
    """Return a `B` float64 tensor of mean rewards, zero for prompts without any."""
    return _moments(outcomes)[0]


def reward_variances(outcomes: Outcomes) -> Tensor:
    """Return a `B` float64 tensor of each prompt's reward variance, its sum divided by n; zero without rewards."""
    return _moments(outcomes)[1]


def has_signal(outcomes: Outcomes) -> Tensor:
    """Return a `B` boolean tensor: whether a prompt's rewards differ, so that its advantages are not all zero."""
    return reward_variances(outcomes) > _NO_VARIANCE


def keep_groups(outcomes: Outcomes, chosen: Tensor) -> Outcomes:
    """Return `B` boolean tensors that keep all rollouts of the chosen prompts and none of the others."""
    return tuple(
        torch.full((len(rewards),), flag, dtype=torch.bool)
        for rewards, flag in zip(outcomes, chosen.tolist(), strict=True)
    )


def _moments(outcomes: Outcomes) -> tuple[Tensor, Tensor]:
    sizes = group_sizes(outcomes)
    rewards = torch.cat(outcomes).to(torch.float64)
    group = torch.repeat_interleave(torch.arange(len(outcomes)), sizes)
    divisor = sizes.clamp_min(1)
    empty = torch.zeros(len(outcomes), dtype=torch.float64)
    mean = empty.index_add(0, group, rewards) / divisor
    return mean, empty.index_add(0, group, (rewards - mean[group]).square()) / divisor
