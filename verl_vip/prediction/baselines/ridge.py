"""Ridge regression of success rates on embeddings (VIP paper, arXiv 2602.01601)."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from verl_vip.annotations import Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts, require_width
from verl_vip.prediction.observations import pool
from verl_vip.prediction.state import copied, pack, require, unpack

#: The least standard deviation of a feature, relative to the largest one; those below are constant up to rounding.
_LEAST_SCALE = 1e-8


class Ridge:
    """Predicts success rates as a linear function of embeddings and covariates, fitted to the last step alone.

    The baseline of the VIP paper (arXiv 2602.01601, Table 3): features are standardised over the step's
    prompts, the penalty is `alpha |w|^2` and the intercept is free. Predictions are clipped to [0, 1]; the
    variance is zero, and the prediction before any step is 0.5. The paper has no covariates.

    Args:
        alpha: Weight of the penalty.

    Raises:
        ConfigError: If alpha is out of range.
    """

    uses_covariates = True

    @checked_settings
    def __init__(self, alpha: Annotated[float, Range(least=1e-8, most=1e12)] = 1.0) -> None:
        self._settings = {"alpha": alpha}
        self._coefficients = torch.zeros(0, dtype=torch.float64)
        self._intercept = 0.5

    def predict(self, prompts: Prompts) -> Prediction:
        """Return the fitted rates, clipped to [0, 1]."""
        mean = torch.full((len(prompts),), self._intercept, dtype=torch.float64)
        if len(self._coefficients):
            points = _inputs(prompts)
            require_width(points, len(self._coefficients))
            mean = (mean + points @ self._coefficients).clamp(0, 1)
        return Prediction(mean, torch.zeros_like(mean))

    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Fit the regression to the step's rates."""
        seen = pool(prompts, successes, trials, squares)
        if not len(seen.prompts):
            return
        points = _inputs(seen.prompts)
        if len(self._coefficients):
            require_width(points, len(self._coefficients))
        centre, scale = points.mean(0), points.std(0, correction=0)
        # A column that is constant up to rounding would get a coefficient that no state can hold.
        scale = torch.where(scale > _LEAST_SCALE * scale.max(), scale, 1.0)
        features = (points - centre) / scale
        penalty = self._settings["alpha"] * torch.eye(features.shape[1], dtype=torch.float64)
        target = seen.rate - seen.rate.mean()
        weights = torch.linalg.solve(features.T @ features + penalty, features.T @ target)
        self._coefficients = weights / scale
        self._intercept = float(seen.rate.mean() - centre @ self._coefficients)

    def state_dict(self) -> dict[str, Any]:
        """Return the fitted coefficients."""
        values = {"coefficients": self._coefficients.clone(), "intercept": self._intercept}
        return pack("ridge", self._settings, values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "ridge", self._settings, frozenset({"coefficients", "intercept"})) as values:
            coefficients, intercept = copied(values["coefficients"], torch.float64, None), float(values["intercept"])
            fits = len(coefficients) > 0 or 0 <= intercept <= 1
            require(fits, "regression has no coefficients, and its intercept is not a success rate")
        self._coefficients, self._intercept = coefficients, intercept

    def metrics(self) -> dict[str, float]:
        """Return no metrics."""
        return {}


def _inputs(prompts: Prompts) -> Tensor:
    """Return `B` rows: each prompt's embedding, and its covariates if it has any."""
    points = prompts.embeddings.detach().to("cpu", torch.float64)
    return points if prompts.covariates is None else torch.cat([points, prompts.covariates.values], 1)
