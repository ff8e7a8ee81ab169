"""True success probabilities, for simulations."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.prediction.observations import pool
from verl_vip.prediction.state import pack, require, unpack
from verl_vip.prediction.table import PromptTable


class Oracle:
    """Predicts given success probabilities with variance zero, and learns nothing from samples."""

    def __init__(self) -> None:
        self._table = PromptTable({"probability": float("nan")})

    def tell(self, ids: Sequence[str], probabilities: Tensor) -> None:
        """Set the true probabilities of some prompts; call it again whenever they drift.

        Args:
            ids: `B` prompt ids.
            probabilities: A `B` tensor in [0, 1].

        Raises:
            InvalidInputError: If there is not one probability in [0, 1] for each id.
        """
        if probabilities.shape != (len(ids),) or not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise InvalidInputError(f"give one probability in [0, 1] for each of the {len(ids)} ids.")
        rows = self._table.ensure(ids)
        self._table["probability"][rows] = probabilities.double()

    def predict(self, prompts: Prompts) -> Prediction:
        """Return the true probabilities.

        Raises:
            InvalidInputError: If the probability of a prompt was never set.
        """
        mean = self._table.lookup(prompts.ids, "probability")
        if mean.isnan().any():
            name = prompts.ids[int(mean.isnan().nonzero()[0])]
            raise InvalidInputError(f"the success probability of prompt {name!r} is unknown; call tell() first.")
        return Prediction(mean, torch.zeros_like(mean))

    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Check the step's outcomes, and ignore them."""
        pool(prompts, successes, trials, squares)

    def state_dict(self) -> dict[str, Any]:
        """Return the probabilities that were set."""
        return pack("oracle", {}, {"table": self._table.state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        table = PromptTable({"probability": float("nan")})
        with unpack(state, "oracle", {}, frozenset({"table"})) as values:
            table.load_state_dict(values["table"])
            probability = table["probability"]
            require((probability >= 0) & (probability <= 1), "probabilities are not all between 0 and 1")
        self._table = table

    def metrics(self) -> dict[str, float]:
        """Return the number of known prompts."""
        return {"known_prompts": float(len(self._table))}
