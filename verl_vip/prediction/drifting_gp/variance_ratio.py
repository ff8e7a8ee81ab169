"""How much rewards between 0 and 1 vary, relative to rewards that are 0 or 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.observations import Observations
from verl_vip.prediction.state import require
from verl_vip.prediction.table import PromptTable

#: Discount of earlier evidence at each step (of all prompts) and at each visit (of one prompt).
_DISCOUNT, _PROMPT_DISCOUNT = 0.98, 0.9
#: Weight of the prior, the ratio of all prompts, as evidence: `k - k^2 / n` of about four even rollouts.
_PRIOR_EVIDENCE = 1.0
_COLUMNS = {"observed": 0.0, "bernoulli": 0.0}


class VarianceRatio:
    """Estimates `Var[r] / (m (1 - m))` of a prompt's rewards `r` in [0, 1] with mean `m`.

    The ratio is 1 for 0/1 rewards and smaller otherwise, and it changes less during training than the variance does.
    The numerator is the sum of `sum r^2 - (sum r)^2 / n` over a prompt's visits. The denominator is what 0/1 rewards
    with the same means would give, the sum of `k - k^2 / n` with `k = sum r`. Both are `n - 1` times unbiased
    estimates, up to one common factor. Earlier visits are discounted. Each prompt's ratio is shrunk towards that of all
    prompts, which is also the estimate for a prompt never sampled. Embeddings are not used. With 0/1 rewards every
    ratio is exactly 1.
    """

    def __init__(self) -> None:
        self._table = PromptTable(_COLUMNS)
        self._observed = self._bernoulli = _PRIOR_EVIDENCE

    def predict(self, ids: Sequence[str]) -> Tensor:
        """Return a `B` tensor of ratios in [0, 1]."""
        overall = self._observed / self._bernoulli
        observed, bernoulli = self._table.lookup_all(ids).unbind(1)
        return (observed + _PRIOR_EVIDENCE * overall) / (bernoulli + _PRIOR_EVIDENCE)

    def observe(self, outcomes: Observations) -> None:
        """Learn from one step."""
        floor = outcomes.successes.square() / outcomes.trials
        evidence = {"observed": outcomes.squares - floor, "bernoulli": outcomes.successes - floor}
        rows = self._table.ensure(outcomes.prompts.ids)
        for name, value in evidence.items():
            self._table[name][rows] = _PROMPT_DISCOUNT * self._table[name][rows] + value
        self._observed = _DISCOUNT * self._observed + float(evidence["observed"].sum())
        self._bernoulli = _DISCOUNT * self._bernoulli + float(evidence["bernoulli"].sum())

    def state_dict(self) -> dict[str, Any]:
        """Return the evidence of each prompt and of all prompts."""
        return {"table": self._table.state_dict(), "observed": self._observed, "bernoulli": self._bernoulli}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "VarianceRatio":
        """Build an estimator from its `state_dict`.

        Raises:
            StateError: If the evidence cannot come from rewards between 0 and 1.
        """
        ratio = cls()
        ratio._table.load_state_dict(state["table"])
        ratio._observed, ratio._bernoulli = float(state["observed"]), float(state["bernoulli"])
        own = ratio._table.values
        observed = torch.cat([own[:, 0], torch.tensor([ratio._observed])])
        bernoulli = torch.cat([own[:, 1], torch.tensor([ratio._bernoulli])])
        # Differences of large sums are exact to about a millionth.
        rounding = 1e-6 * (1 + bernoulli.abs())
        fits = (observed >= -rounding) & (observed <= bernoulli + rounding)
        require(fits, "evidence cannot come from rewards between 0 and 1")
        require(ratio._bernoulli > 0, "evidence of all prompts is not positive")
        return ratio
