"""A Gaussian process that follows drifting success probabilities, with honest uncertainty and constant cost."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from verl_vip.errors import ConfigError
from verl_vip.prediction.gaussian_process import median_distance
from verl_vip.prediction.hyperparameters import LEVEL_VARIANCE, Hyperparameters, fit
from verl_vip.prediction.logistic_normal import probability_moments
from verl_vip.prediction.neighbourhood import Neighbourhood, Residuals
from verl_vip.prediction.nystrom import NystromFeatures
from verl_vip.prediction.observations import Observations, pool
from verl_vip.prediction.panel import Panel
from verl_vip.prediction.predictor import Prediction, Prompts
from verl_vip.prediction.state import pack, unpack
from verl_vip.prediction.table import PromptTable

_KIND = "drifting_gp"
_COLUMNS = {"offset": 0.0, "pull": 0.0, "variance": 0.0, "step": -1.0, "travel": 0.0}


class DriftingGaussianProcess:
    def __init__(self, features: int = 256, refit_every: int = 32) -> None:
        if features < 1:
            raise ConfigError(f"features must be at least 1; got {features}.")
        if refit_every < 1:
            raise ConfigError(f"refit_every must be at least 1 step; got {refit_every}.")
        self._settings = {"features": features, "refit_every": refit_every}
        self._limit, self._refit_every = features, refit_every
        self._step = 0
        self._hyper = Hyperparameters()
        self._prior = Hyperparameters()
        self._features: NystromFeatures | None = None
        self._beliefs = Neighbourhood(torch.tensor([LEVEL_VARIANCE], dtype=torch.float64))
        self._table = PromptTable(_COLUMNS)
        self._panel = Panel()
        self._fit_seconds = 0.0

    @torch.no_grad()
    def predict(self, prompts: Prompts) -> Prediction:
        phi = self._phi(prompts)
        mean, covariance = self._beliefs.advanced(*self._dynamics())
        rest = self._residuals(prompts, phi)
        weight = 1 - rest.pull
        centre = rest.offset + weight * (phi @ mean)
        spread = weight.square() * ((phi @ covariance) * phi).sum(1) + rest.variance
        return Prediction(*probability_moments(centre, spread))

    @torch.no_grad()
    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor) -> None:
        seen = pool(prompts, successes, trials)
        if not len(seen.prompts):
            return
        self._panel.add(seen, self._step)
        self._fit_seconds = 0.0
        if self._is_fit_due():
            self._fit(seen)
        if self._features is not None:
            added = self._features.grow(seen.prompts.embeddings, self._limit)
            self._beliefs.grow(torch.full((added,), self._hyper.neighbour_variance, dtype=torch.float64))
        phi = self._phi(seen.prompts)
        rest = self._residuals(seen.prompts, phi)
        rest = self._beliefs.update(phi, rest, seen.successes, seen.trials, *self._dynamics())
        rows = self._table.ensure(seen.prompts.ids)
        self._table["offset"][rows] = rest.offset
        self._table["pull"][rows] = rest.pull
        self._table["variance"][rows] = rest.variance
        self._table["step"][rows] = float(self._step)
        self._table["travel"][rows] = phi @ self._beliefs.travel
        self._step += 1

    def _is_fit_due(self) -> bool:
        step = self._step + 1
        return step % self._refit_every == 0 or (step < self._refit_every and step & (step - 1) == 0)

    def _fit(self, seen: Observations) -> None:
        began = time.perf_counter()
        if self._features is None:
            points = seen.prompts.embeddings.detach().to("cpu", torch.float32)
            distance = median_distance(points)
            self._prior = Hyperparameters(lengthscale=0.6 * distance)
            self._hyper = fit(self._panel.records(), self._prior, self._prior, keep_lengthscale=False)
            self._features = NystromFeatures(self._hyper.lengthscale, points.shape[1])
        else:
            self._hyper = fit(self._panel.records(), self._hyper, self._prior, keep_lengthscale=True)
        self._fit_seconds = time.perf_counter() - began

    def _phi(self, prompts: Prompts) -> Tensor:
        level = torch.ones(len(prompts), 1, dtype=torch.float64)
        if self._features is None:
            return level
        return torch.cat([level, self._features(prompts.embeddings)], 1)

    def _dynamics(self) -> tuple[Tensor, Tensor]:
        size = len(self._beliefs.mean)
        retention = torch.full((size,), -1 / self._hyper.neighbour_steps, dtype=torch.float64).exp()
        variance = torch.full((size,), self._hyper.neighbour_variance, dtype=torch.float64)
        retention[0] = torch.tensor(-1 / self._hyper.level_steps, dtype=torch.float64).exp()
        variance[0] = LEVEL_VARIANCE
        return retention, variance

    def _residuals(self, prompts: Prompts, phi: Tensor) -> Residuals:
        unexplained = (1 - phi[:, 1:].square().sum(1)).clamp_min(0)
        stationary = self._hyper.prompt_variance + self._hyper.neighbour_variance * unexplained
        rows = self._table.find(prompts.ids)
        known = rows >= 0
        offset, pull = torch.zeros_like(stationary), torch.zeros_like(stationary)
        variance = stationary.clone()
        if known.any():
            table = {name: self._table[name][rows[known]] for name in _COLUMNS}
            kept = torch.exp((table["step"] - self._step) / self._hyper.prompt_steps)
            moved = phi[known] @ self._beliefs.travel - table["travel"]
            offset[known] = kept * (table["offset"] + table["pull"] * moved)
            pull[known] = kept * table["pull"]
            variance[known] = kept.square() * table["variance"] + (1 - kept.square()) * stationary[known]
        return Residuals(offset, pull, variance)

    def state_dict(self) -> dict[str, Any]:
        values = {
            "step": self._step,
            "hyperparameters": self._hyper.to_dict(),
            "prior": self._prior.to_dict(),
            "features": None if self._features is None else self._features.state_dict(),
            "beliefs": self._beliefs.state_dict(),
            "table": self._table.state_dict(),
            "panel": self._panel.state_dict(),
        }
        return pack(_KIND, self._settings, values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        names = frozenset({"step", "hyperparameters", "prior", "features", "beliefs", "table", "panel"})
        values = unpack(state, _KIND, self._settings, names)
        table = PromptTable(_COLUMNS)
        table.load_state_dict(values["table"])
        self._table = table
        self._step = int(values["step"])
        self._hyper, self._prior = Hyperparameters(**values["hyperparameters"]), Hyperparameters(**values["prior"])
        saved = values["features"]
        self._features = None if saved is None else NystromFeatures.from_state(saved)
        self._beliefs = Neighbourhood.from_state(values["beliefs"])
        self._panel = Panel.from_state(values["panel"])

    def metrics(self) -> dict[str, float]:
        return {
            "known_prompts": float(len(self._table)),
            "features": float(len(self._beliefs.mean)),
            "fit_seconds": self._fit_seconds,
            **self._hyper.to_dict(),
        }
