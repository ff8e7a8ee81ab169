"""Random pruning of prompts and rollouts, corrected by importance weights (in the style of arXiv 2603.04135)."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection, Weighing
from verl_vip.annotations import Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import same_counts
from verl_vip.strategies.outcomes import reward_means
from verl_vip.strategies.state import pack, restored_generator, seeded_generator, unpack

#: Below 1, because no weight can correct for what is always left out.
_Pruning = Annotated[float, Range(least=0, below=1)]


class DynamicPruning(Stateless):
    """Leaves out prompts and rollouts with small advantages at random, and gives the others larger weights.

    A prompt is left out before sampling with probability `prompt_pruning * (1 - 4 E[p(1-p)])`. A rollout is left out
    after sampling with probability `rollout_pruning * (1 - |A| / max |A|)`, where A is its advantage within the group.
    Inclusions are independent, the rest is weighted by the inverse probability of inclusion, and means divide by the
    original counts, so that the expected update is that of the whole batch. Dynamic Pruning itself prunes by rank,
    which its proof does not cover. Its rates are not published; those here are chosen. A step does not spend the
    rollouts of the prompts that it leaves out.

    Args:
        prompt_pruning: Largest probability of leaving out a prompt, in [0, 1).
        rollout_pruning: Largest probability of leaving out a rollout, in [0, 1).
        seed: Seed of the draws.

    Raises:
        ConfigError: If a probability is out of range.
    """

    weighs: frozenset[Weighing] = frozenset({"prompt_weight", "rollout_weight", "baseline"})

    @checked_settings
    def __init__(self, prompt_pruning: _Pruning = 0.5, rollout_pruning: _Pruning = 0.5, seed: int = 0) -> None:
        self._prompt_pruning, self._rollout_pruning = prompt_pruning, rollout_pruning
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield even counts for the remaining prompts in one round, then prune rollouts."""
        size = len(prompts)
        budget.require_feasible(size)
        prompt_inclusion = 1 - self._prompt_pruning * (1 - 4 * prediction.reward_variance).clamp(0, 1)
        included = self._draw(prompt_inclusion.to(torch.float64)).nonzero()[:, 0].tolist()
        outcomes = yield same_counts(size, included, budget.total // size)
        sizes = [len(rewards) for rewards in outcomes]
        inclusion = [
            self._inclusion(rewards, float(mean))
            for rewards, mean in zip(outcomes, reward_means(outcomes), strict=True)
        ]
        keep = torch.split(self._draw(torch.cat(inclusion)), sizes)
        used = sum(bool(flags.any()) for flags in keep)
        return Selection(
            keep=keep,
            prompt_weight=used / size / prompt_inclusion,
            rollout_weight=tuple(
                flags.sum() / max(len(flags), 1) / probability
                for flags, probability in zip(keep, inclusion, strict=True)
            ),
            baseline="sampled",
        )

    def _inclusion(self, rewards: Tensor, mean: float) -> Tensor:
        magnitude = (rewards.to(torch.float64) - mean).abs()
        largest = float(magnitude.max()) if len(rewards) else 0.0
        share = magnitude / largest if largest > 0 else torch.zeros_like(magnitude)
        return 1 - self._rollout_pruning * (1 - share)

    def _draw(self, probability: Tensor) -> Tensor:
        draws = torch.rand(len(probability), generator=self._generator, dtype=torch.float64)
        return draws < probability

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return pack("dynamic_pruning", generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "dynamic_pruning", "generator") as values:
            self._generator = restored_generator(values["generator"])
