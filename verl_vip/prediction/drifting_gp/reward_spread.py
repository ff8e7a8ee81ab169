"""How much rewards between 0 and 1 vary, relative to rewards that are 0 or 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.observations import Observations
from verl_vip.prediction.state import require
from verl_vip.prediction.table import PromptTable

#: What remains of earlier evidence at the next step (of all prompts) or visit (of one).
_KEPT_OVERALL, _KEPT_OWN = 0.98, 0.9
#: The evidence that a prompt's prior, the ratio of all prompts, is worth: `k - k^2 / n` of about four even rollouts.
_STRENGTH = 1.0
_COLUMNS = {"seen": 0.0, "binary": 0.0}


class RewardSpread:
    """Estimates `Var[r] / (m (1 - m))` of a prompt's rewards `r` in [0, 1] with mean `m`.

    The ratio is 1 for 0/1 rewards and smaller otherwise, and it changes less with training than the variance does.
    It is the sum of `sum r^2 - (sum r)^2 / n` over a prompt's visits, divided by what 0/1 rewards with the same means
    would have given, `k - k^2 / n` with `k = sum r`; both are `n - 1` times unbiased estimates but for the same
    factor. Earlier visits are discounted, and every prompt is drawn to the ratio of all prompts, which is what one
    never sampled gets. Embeddings are not used. With 0/1 rewards every ratio is exactly 1.
    """

    def __init__(self) -> None:
        self._table = PromptTable(_COLUMNS)
        self._seen = self._binary = _STRENGTH

    def predict(self, ids: Sequence[str]) -> Tensor:
        """Return a `B` tensor of ratios in [0, 1]."""
        overall = self._seen / self._binary
        seen, binary = self._table.lookup_all(ids).unbind(1)
        return (seen + _STRENGTH * overall) / (binary + _STRENGTH)

    def observe(self, outcomes: Observations) -> None:
        """Learn from one step."""
        floor = outcomes.successes.square() / outcomes.trials
        evidence = {"seen": outcomes.squares - floor, "binary": outcomes.successes - floor}
        rows = self._table.ensure(outcomes.prompts.ids)
        for name, value in evidence.items():
            self._table[name][rows] = _KEPT_OWN * self._table[name][rows] + value
        self._seen = _KEPT_OVERALL * self._seen + float(evidence["seen"].sum())
        self._binary = _KEPT_OVERALL * self._binary + float(evidence["binary"].sum())

    def state_dict(self) -> dict[str, Any]:
        """Return all evidence."""
        return {"table": self._table.state_dict(), "seen": self._seen, "binary": self._binary}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "RewardSpread":
        """Build what `state_dict` describes.

        Raises:
            StateError: If the evidence is not that of rewards between 0 and 1.
        """
        spread = cls()
        spread._table.load_state_dict(state["table"])
        spread._seen, spread._binary = float(state["seen"]), float(state["binary"])
        own = spread._table.values
        seen = torch.cat([own[:, 0], torch.tensor([spread._seen])])
        binary = torch.cat([own[:, 1], torch.tensor([spread._binary])])
        # Differences of large sums are exact to about a millionth.
        rounding = 1e-6 * (1 + binary.abs())
        fits = (seen >= -rounding) & (seen <= binary + rounding)
        require(fits, "evidence is not that of rewards between 0 and 1")
        require(spread._binary > 0, "evidence of all prompts is not positive")
        return spread
