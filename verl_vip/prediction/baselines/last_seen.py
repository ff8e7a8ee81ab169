"""The success rate of a prompt's last visit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.prediction.observations import pool
from verl_vip.prediction.state import pack, require, unpack
from verl_vip.prediction.table import PromptTable


class LastSeen:
    """Predicts the success rate of each prompt's last visit, and the last step's mean rate for other prompts.

    This is the baseline for predictors that follow repeated prompts. The variance is zero.
    """

    def __init__(self) -> None:
        self._table = PromptTable({"rate": 0.5})
        self._last_mean = 0.5

    def predict(self, prompts: Prompts) -> Prediction:
        """Return the rates of the last visits."""
        known = self._table.find(prompts.ids) >= 0
        mean = torch.where(known, self._table.lookup(prompts.ids, "rate"), self._last_mean)
        return Prediction(mean, torch.zeros_like(mean))

    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Store the step's rates."""
        seen = pool(prompts, successes, trials, squares)
        if len(seen.prompts):
            rows = self._table.ensure(seen.prompts.ids)
            self._table["rate"][rows] = seen.rate
            self._last_mean = float(seen.rate.mean())

    def state_dict(self) -> dict[str, Any]:
        """Return the table."""
        return pack("last_seen", {}, {"table": self._table.state_dict(), "last_mean": self._last_mean})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        table = PromptTable({"rate": 0.5})
        with unpack(state, "last_seen", {}, frozenset({"table", "last_mean"})) as values:
            table.load_state_dict(values["table"])
            last_mean = float(values["last_mean"])
            rates = torch.cat([table["rate"], torch.tensor([last_mean])])
            require((rates >= 0) & (rates <= 1), "success rates are not all between 0 and 1")
        self._table, self._last_mean = table, last_mean

    def metrics(self) -> dict[str, float]:
        """Return the number of known prompts."""
        return {"known_prompts": float(len(self._table))}
