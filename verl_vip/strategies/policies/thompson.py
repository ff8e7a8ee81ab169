"""Prompts with the largest reward variance under one draw of what all prompts share (coherent Thompson sampling)."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Count, Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.prediction.logistic_normal import probability_moments
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import affordable_groups, same_counts
from verl_vip.strategies.policies.beta_draws import draw_success
from verl_vip.strategies.state import pack, restored_generator, seeded_generator, unpack


class Thompson(Stateless):
    """Draws the predictor's shared weights once a step, and takes the candidates with the largest variance under them.

    The draw decides what the step believes about all prompts together: a skill that is uncertain is believed to be half
    learned in some steps, and all of its prompts are then preferred. What belongs to a prompt alone is averaged over.
    MoPPS draws each prompt by itself instead, so that a large pool always has candidates whose draw is near one half by
    chance. There is no exponent and no even share to set: certainty ends exploration, and uncertainty brings it back.

    A draw needs a predictor with `Prediction.logits`, as "drifting_gp" has. With any other, the probability of each
    prompt is drawn from the Beta distribution of its moments, as in MoPPS.

    The chosen prompts are not weighted: training ascends a mean of success probabilities in which a prompt counts as
    often as it is chosen.

    Args:
        pool_ratio: Candidates for each prompt of the nominal batch.
        group_size: Rollouts of a chosen prompt; at least the budget's lower bound.
        seed: Seed of the draws.

    Raises:
        ConfigError: If a setting is out of range.
    """

    @checked_settings
    def __init__(
        self, pool_ratio: Annotated[float, Range(least=1, most=1e6)] = 12.0, group_size: Count = 1, seed: int = 0
    ) -> None:
        self.pool_ratio = pool_ratio
        self.group_size = group_size
        self._generator = seeded_generator(seed)

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the counts in one round; a remainder smaller than a group is not spent."""
        groups, size = affordable_groups(budget, self.group_size, len(prompts))
        variance = self._drawn_variance(prediction)
        if prediction.variance_ratio is not None:
            variance = variance * prediction.variance_ratio
        chosen = torch.argsort(prediction.rescale(variance), descending=True, stable=True)[:groups]
        yield same_counts(len(prompts), chosen.tolist(), size)
        return Selection()

    def _drawn_variance(self, prediction: Prediction) -> Tensor:
        """Return a `B` float64 tensor, p(1-p) under the step's draw."""
        logits = prediction.logits
        if logits is None:
            p = draw_success(prediction, self._generator)
            return p * (1 - p)
        drawn = torch.randn(logits.loadings.shape[1], generator=self._generator, dtype=torch.float64)
        mean, variance = probability_moments(logits.mean + logits.loadings @ drawn, logits.own_variance)
        return mean * (1 - mean) - variance

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return pack("thompson", generator=self._generator.get_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "thompson", "generator") as values:
            self._generator = restored_generator(values["generator"])
