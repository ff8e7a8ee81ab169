"""Random pruning of prompts and rollouts with weights that undo it (in the style of arXiv 2603.04135)."""

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

#: What is left out for sure can never be weighed up.
_Pruning = Annotated[float, Range(least=0, below=1)]


class DynamicPruning(Stateless):
    """Leaves out prompts and rollouts of small advantage at random, and weighs the others up.

    A prompt is left out with probability `prompt_pruning * (1 - 4 E[p(1-p)])`, before sampling; a rollout with
    `rollout_pruning * (1 - |A| / max |A|)`, after it, A being its advantage over its group. Inclusions are
    independent, survivors weigh one over their probability of inclusion, and means divide by the original counts,
    so that the expected update is that of the whole batch. Dynamic Pruning prunes by rank, which its proof does
    not cover; its rates are not known, and those here are chosen. It spends less than the budget by what the left
    out prompts would have had.

    Args:
        prompt_pruning: Largest probability of leaving out a prompt, in [0, 1).
        rollout_pruning: Largest probability of leaving out a rollout, in [0, 1).
        seed: Of the draws.

    Raises:
        ConfigError: If a probability is out of range.
    """

    weighs: frozenset[Weighing] = frozenset({"prompt_weight", "rollout_weight", "baseline"})

    @checked_settings
    def __init__(self, prompt_pruning: _Pruning = 0.5, rollout_pruning: _Pruning = 0.5, seed: int = 0) -> None:
        self._prompt_pruning, self._rollout_pruning = prompt_pruning, rollout_pruning
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield even counts for the prompts left in once, then prune; see `Strategy.rounds`."""
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
        """Return the generator's state; see `Strategy.state_dict`."""
        return pack("dynamic_pruning", generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value; see `Strategy.load_state_dict`."""
        with unpack(state, "dynamic_pruning", "generator") as values:
            self._generator = restored_generator(values["generator"])
