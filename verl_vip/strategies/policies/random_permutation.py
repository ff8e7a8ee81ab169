"""A control: VIP's counts, assigned to random prompts."""

from collections.abc import Mapping
from typing import Any

import torch

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import checked_settings
from verl_vip.config import EstimatorName
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.strategies.policies.vip import Vip
from verl_vip.strategies.state import pack, restored_generator, seeded_generator, unpack


class RandomPermutation(Stateless):
    """Permutes the counts of `Vip` at random, to measure what assigning them to the right prompts is worth.

    Args:
        objective: As for `Vip`.
        seed: Seed of the permutations.
    """

    decides_beforehand = True

    @checked_settings
    def __init__(self, objective: GradientVariance | EstimatorName = "rloo", seed: int = 0) -> None:
        self._vip = Vip(objective)
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the permuted counts in one round."""
        counts = next(self._vip.rounds(prompts, prediction, budget))
        yield counts[torch.randperm(len(counts), generator=self._generator)]
        return Selection()

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return pack("random_permutation", generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "random_permutation", "generator") as values:
            self._generator = restored_generator(values["generator"])
