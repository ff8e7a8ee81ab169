"""What the update needs to know of each prompt of a batch, all of it fixed before sampling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.prediction.beta_belief import BetaBelief
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.workers.session.row_weights import RowWeights


@dataclass(frozen=True)
class UpdateTerms:
    """One batch of `B` prompts as the advantage estimators see it.

    Attributes:
        position: Where each uid stands, from 0 to `B - 1`.
        belief: What was believed of the `B` success probabilities.
        weight: A `B` tensor, the factor of each prompt's gradient.
        rows: How single rows are weighed and centred.
        reward_range: A `B x 2` float64 tensor, the rewards of a failed and of a solved rollout.
    """

    position: Mapping[str, int]
    belief: BetaBelief
    weight: Tensor
    rows: RowWeights
    reward_range: Tensor

    @classmethod
    def of_batch(
        cls,
        uids: Sequence[str],
        prediction: Prediction,
        variance: GradientVariance,
        rows: RowWeights,
        ranges: Sequence[tuple[float, float]],
    ) -> "UpdateTerms":
        """Gather the terms of `B` prompts.

        Args:
            uids: `B` identifiers.
            prediction: The `B` predictions that the counts were made from.
            variance: What is ascended, and with which estimator.
            rows: What the strategy wants on top.
            ranges: `B` pairs, the rewards of a failed and of a solved rollout.
        """
        own = torch.tensor([rows.prompt.get(uid, 1.0) for uid in uids], dtype=torch.float64)
        return cls(
            position={uid: place for place, uid in enumerate(uids)},
            belief=variance.belief(prediction),
            weight=variance.prompt_weight(prediction) * own,
            rows=rows,
            reward_range=torch.tensor(ranges, dtype=torch.float64).reshape(-1, 2),
        )

    def unused_rewards(self, batch: GroupedRewards) -> tuple[Tensor, Tensor] | None:
        """Return sum and number of each prompt's rewards that were sampled and are not in the batch, for baselines.

        Returns:
            Two `B` tensors, or None where the strategy centres advantages on what is kept.
        """
        if not self.rows.baseline:
            return None
        sums, sizes = torch.zeros_like(batch.sizes), torch.zeros_like(batch.sizes)
        for uid, (mean, size) in self.rows.baseline.items():
            place = self.position[uid]
            if batch.sizes[place]:
                sums[place], sizes[place] = mean * size, size
        there = sizes > 0
        return torch.where(there, sums - batch.total(batch.rewards), 0.0), torch.where(there, sizes - batch.sizes, 0.0)

    def rollout_factors(self, batch: GroupedRewards) -> Tensor:
        """Return the factor of each of the `N` rows, matched to rewards by rank (see `RowWeights.rollout`)."""
        factors = torch.ones_like(batch.rewards)
        for uid, ranked in self.rows.rollout.items():
            rows = (batch.group == self.position[uid]).nonzero()[:, 0]
            factors[rows[torch.argsort(batch.rewards[rows], stable=True)]] = ranked
        return factors
