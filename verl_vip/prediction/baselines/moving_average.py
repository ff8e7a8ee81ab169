"""The mean success rate of the last steps, for all prompts."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from verl_vip.annotations import Count, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.prediction.observations import pool
from verl_vip.prediction.state import pack, require, unpack


class MovingAverage:
    """Predicts the mean success rate of the prompts of the last steps, the same for every prompt.

    The baseline of the VIP paper's Figure 2 (arXiv 2602.01601), whose window is two steps. The variance is
    zero, and the prediction before any step is 0.5.

    Args:
        window: Number of steps that are averaged.

    Raises:
        ConfigError: If the window is not positive.
    """

    @checked_settings
    def __init__(self, window: Count = 2) -> None:
        self._settings = {"window": window}
        self._steps: deque[tuple[float, int]] = deque(maxlen=window)

    def predict(self, prompts: Prompts) -> Prediction:
        """Return the mean rate of the window for every prompt."""
        count = sum(prompts_seen for _, prompts_seen in self._steps)
        rate = sum(total for total, _ in self._steps) / count if count else 0.5
        mean = torch.full((len(prompts),), rate, dtype=torch.float64)
        return Prediction(mean, torch.zeros_like(mean))

    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Add the step to the window."""
        seen = pool(prompts, successes, trials, squares)
        if len(seen.prompts):
            self._steps.append((float(seen.rate.sum()), len(seen.prompts)))

    def state_dict(self) -> dict[str, Any]:
        """Return the window."""
        return pack("moving_average", self._settings, {"steps": [list(step) for step in self._steps]})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "moving_average", self._settings, frozenset({"steps"})) as values:
            steps = [(float(total), int(count)) for total, count in values["steps"]]
            fits = all(count >= 1 and 0 <= total <= count for total, count in steps)
            require(fits and len(steps) <= self._settings["window"], "window has values that are not success rates")
        self._steps = deque(steps, maxlen=self._settings["window"])

    def metrics(self) -> dict[str, float]:
        """Return no metrics."""
        return {}
