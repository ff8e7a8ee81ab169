"""Rollouts according to the model's current capability (CoBA-RL, arXiv 2602.03048)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection
from verl_vip.allocation.allocate import allocate
from verl_vip.allocation.values import CobaValue
from verl_vip.annotations import Count, Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.state import pack, unpack


class Coba(Stateless):
    """Maximises `sum (1 - exp(-n p(1-p) / tau)) Beta(p; alpha, beta)`, exactly.

    The parameters of the Beta density follow the failure rate of the last steps: the density prefers easy prompts while
    most rollouts fail, and hard ones later. kappa is the paper's value. Constants that the paper does not state are
    those of the released code; its three-way split of the surplus is left out. Before the first step, the predicted
    failure rate is used.

    Args:
        kappa: alpha + beta; above 2, so that both can be at least 1.
        window: Steps over which the failure rate is averaged.

    Raises:
        ConfigError: If a setting is out of range.
    """

    @checked_settings
    def __init__(self, kappa: Annotated[float, Range(above=2, most=1e6)] = 11.0, window: Count = 3) -> None:
        self._kappa, self._window = kappa, window
        self._failure_rates: list[float] = []

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the optimal counts in one round, and record the failure rate."""
        budget.require_feasible(len(prompts))
        p = prediction.mean.to(torch.float64).clamp(0.01, 0.99)
        variance = float(prediction.mean.to(torch.float64).var(correction=0))
        tau = 3 + 9 * min(variance / 0.1667, 1.0)
        objective = CobaValue(self._density(p), p * (1 - p) / tau)
        outcomes = yield allocate(None, budget.total, lower=budget.lower, upper=budget.upper, objective=objective)
        rewards = torch.cat(outcomes)
        if len(rewards):
            self._failure_rates = [*self._failure_rates, 1 - float(rewards.double().mean())][-self._window :]
        return Selection()

    def _density(self, p: Tensor) -> Tensor:
        rates = self._failure_rates
        failure = sum(rates) / len(rates) if rates else float((1 - p).mean())
        preference = failure if failure > 0.5 else 1 / (1 + math.exp(-10 * (failure - 0.5)))
        alpha = min(1 + (self._kappa - 2) * preference, self._kappa - 1)
        beta = self._kappa - alpha
        log_scale = math.lgamma(self._kappa) - math.lgamma(alpha) - math.lgamma(beta)
        return torch.exp(log_scale + (alpha - 1) * p.log() + (beta - 1) * torch.log1p(-p))

    def state_dict(self) -> dict[str, Any]:
        """Return the failure rates of the window."""
        return pack("coba", failure_rates=list(self._failure_rates))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        with unpack(state, "coba", "failure_rates") as values:
            rates = [float(rate) for rate in values["failure_rates"]]
            if len(rates) > self._window or not all(0 <= rate <= 1 for rate in rates):
                raise ValueError("its window has values that are not failure rates")
        self._failure_rates = rates
