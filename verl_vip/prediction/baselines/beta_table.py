"""A Beta distribution of each prompt by itself, with discounting."""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor

from verl_vip.annotations import Range, Share, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.prediction.observations import pool
from verl_vip.prediction.state import pack, require, unpack
from verl_vip.prediction.table import PromptTable


class BetaTable:
    """Models each prompt separately as `p ~ Beta(a, b)`, and discounts earlier outcomes at each visit.

    With the prior `a0 = prior_mean * prior_strength` and `b0 = (1 - prior_mean) * prior_strength`, a visit with `k`
    successes in `n` trials updates `a <- decay a + (1 - decay) a0 + k` and `b <- decay b + (1 - decay) b0 + n - k`, as
    in MoPPS (arXiv 2507.04632). Prompts that were never sampled have the prior.

    Args:
        prior_mean: Mean of the prior, in (0, 1).
        prior_strength: The number of rollouts that the prior is worth; 2 with mean 0.5 is the uniform distribution.
        decay: Discount factor of earlier evidence at each visit, in [0, 1]; 1 keeps all of it. The default is that of
            MoPPS, for a policy that learns fast. Where prompts come back dozens of times and change slowly, .9 attains
            more (see the benchmarks on real records).

    Raises:
        ConfigError: If a setting is out of range.
    """

    @checked_settings
    def __init__(
        self,
        prior_mean: Annotated[float, Range(above=0, below=1)] = 0.5,
        prior_strength: Annotated[float, Range(least=1e-6, most=1e9)] = 2.0,
        decay: Share = 0.5,
    ) -> None:
        self._settings = {"prior_mean": prior_mean, "prior_strength": prior_strength, "decay": decay}
        self._prior = {"a": prior_mean * prior_strength, "b": (1 - prior_mean) * prior_strength}
        self._decay = decay
        self._table = PromptTable(self._prior)

    def predict(self, prompts: Prompts) -> Prediction:
        """Return the mean and variance of each prompt's Beta distribution."""
        a, b = self._table.lookup(prompts.ids, "a"), self._table.lookup(prompts.ids, "b")
        total = a + b
        return Prediction(a / total, a * b / (total.square() * (total + 1)))

    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Discount and add the step's counts."""
        seen = pool(prompts, successes, trials, squares)
        rows = self._table.ensure(seen.prompts.ids)
        for name, count in (("a", seen.successes), ("b", seen.trials - seen.successes)):
            kept = self._decay * self._table[name][rows] + (1 - self._decay) * self._prior[name]
            self._table[name][rows] = kept + count

    def state_dict(self) -> dict[str, Any]:
        """Return the table."""
        return pack("beta_table", self._settings, {"table": self._table.state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        table = PromptTable(self._prior)
        with unpack(state, "beta_table", self._settings, frozenset({"table"})) as values:
            table.load_state_dict(values["table"])
            require(table.values > 0, "counts are not all positive")
        self._table = table

    def metrics(self) -> dict[str, float]:
        """Return the number of known prompts."""
        return {"known_prompts": float(len(self._table))}
