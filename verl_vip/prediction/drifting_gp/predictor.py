"""A Gaussian process that follows drifting success probabilities, with uncertainty, at constant cost."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from verl_vip.annotations import Count, checked_settings
from verl_vip.prediction.baselines.gaussian_process import median_distance
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.prediction.drifting_gp.clusters import Clusters
from verl_vip.prediction.drifting_gp.features import Kernel, NystromFeatures
from verl_vip.prediction.drifting_gp.filter import Neighbourhood, Outlook, Residuals
from verl_vip.prediction.drifting_gp.fit import LEVEL_VARIANCE, Hyperparameters, fit
from verl_vip.prediction.drifting_gp.logistic_normal import probability_moments
from verl_vip.prediction.drifting_gp.panel import Panel
from verl_vip.prediction.drifting_gp.reward_spread import RewardSpread
from verl_vip.prediction.observations import Observations, pool
from verl_vip.prediction.state import pack, require, unpack
from verl_vip.prediction.table import PromptTable

logger = logging.getLogger(__name__)

_KIND = "drifting_gp"
#: What is kept of each prompt: its residual after the last visit, when that was, how far its neighbourhood had moved
#: by then, and 4 p (1 - p) with its p of then.
_COLUMNS = {"offset": 0.0, "pull": 0.0, "variance": 0.0, "step": -1.0, "travel": 0.0, "signal": 0.0}
#: Prior variances of the weights before those of the embedding's features: the level, and `b`, which is wide.
_LEADING_VARIANCES = (LEVEL_VARIANCE, 25.0)
_LEADING = len(_LEADING_VARIANCES)
#: Prompts are clustered again when so many times more of them are known.
_GROWTH = 1.5


class DriftingGaussianProcess:
    """Predicts `E[p]` and `Var[p]` with what a prompt shares with its neighbours and what it has for itself.

    The logit of prompt `q` at training step `t` is the sum of four parts,

        g_q(t) = level(t) + phi(x_q) . w(t) + u_q(t) + e_q(t),        k_q ~ Binomial(n_q, sigmoid(g_q(t))):

    a level common to all prompts; an effect of the embedding `x_q` (a radial, a linear and a cluster kernel, see
    `nystrom.Kernel`, as features `phi`, plus, as part of `u_q`, what the features miss of it: Snelson & Ghahramani,
    NeurIPS 2005); an effect of the prompt alone; and one of this visit alone. The first three are Ornstein-Uhlenbeck
    processes, each with its own time constant, and revert to zero. `u_q` moves on the way as well, by
    `b r (1 - r) 4 p (1 - p)`, where `p` is that of its last visit, `t` steps ago, and `r = exp(-t / 100)`: policy
    gradients move a prompt while its rollouts have both outcomes, and one that is always solved or never stays where
    it is, as the recorded runs in `benchmarks/traces` show; long afterwards this is forgotten. How far, `b`, is learned
    with `w`, and is near zero where training is not like that.
    `e_q` is independent between visits and shared by the rollouts of one, which makes them correlated: successes vary
    more than binomially, as with a beta-binomial, whose place this takes because Gaussian parts add up and the
    likelihood stays log-concave (the correlation is about `Var[e] p (1 - p)`).
    The level and `w` are followed by a Kalman filter; `u_q` is kept for each prompt as a Gaussian given
    `w`, and carried forward only when the prompt is met again. Binomial outcomes enter by moment matching.

    Where this departs from the paper's process (`GaussianProcess`): an outcome of few rollouts moves
    beliefs less than one of many; beliefs fade with time; uncertainty is kept, so that
    `Prediction.reward_variance` is `E[p (1 - p)]` and not its plug-in value; and every hyper-parameter but
    the level's variance is fitted to the outcomes of a panel of prompts by marginal likelihood (see
    `hyperparameters.fit`), at steps 1, 2, 4, ... and then at every `refit_every`-th. Prompts are clustered then, as
    long as the panel grows. What was learned under the
    earlier hyper-parameters is carried over to the new ones.

    A step costs `O(B m (m + d) + m^3)` for batch size `B` and `m` features, whatever the number of steps
    and of known prompts; a known prompt takes six numbers.

    Rewards between 0 and 1 count as so much of a success, which overstates their noise, and how much less they vary
    than 0/1 rewards is learned apart (`RewardSpread`).

    One thing is neglected: how far a neighbourhood has moved between two visits is estimated, but the
    uncertainty of that estimate is not carried. It matters where the level or the neighbourhoods jump about
    at random, and there intervals are too narrow; under steady improvement leaving it out predicts better.

    Args:
        features: Most features `m`. Points are chosen among the prompts of the first steps, at most a quarter
            of them in one step.
        refit_every: Steps between fits once a run is under way.

    Raises:
        ConfigError: If a setting is out of range.
    """

    @checked_settings
    def __init__(self, features: Count = 256, refit_every: Count = 16) -> None:
        self._settings = {"features": features, "refit_every": refit_every}
        self._limit, self._refit_every = features, refit_every
        self._step = 0
        self._hyper = self._prior = Hyperparameters()
        self._features: NystromFeatures | None = None
        self._beliefs = Neighbourhood(torch.tensor(_LEADING_VARIANCES, dtype=torch.float64))
        self._table = PromptTable(_COLUMNS)
        self._panel = Panel()
        self._spread = RewardSpread()
        self._fit_seconds = 0.0
        # What `predict` worked out: `observe` follows it on the same prompts. Dropped when anything changes.
        self._recent: _View | None = None

    @torch.no_grad()
    def predict(self, prompts: Prompts) -> Prediction:
        """Return the moments of `p` at the coming step; see `Predictor.predict`."""
        view = self._view(prompts)
        centre = view.rest.offset + view.design @ view.outlook.mean
        spread = view.projected.square().sum(1) + view.rest.variance + self._hyper.visit_variance
        return Prediction(*probability_moments(centre, spread), self._spread.predict(prompts.ids))

    @torch.no_grad()
    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Learn from one step, and refit the hyper-parameters when that is due; see `Predictor.observe`."""
        seen = pool(prompts, successes, trials, squares)
        if not len(seen.prompts):
            return
        if self._features is not None:
            self._features.require_width(seen.prompts.embeddings)
        self._panel.add(seen, self._step)
        self._spread.observe(seen)
        self._fit_seconds = 0.0
        if self._features is None or self._is_fit_due():
            self._fit(seen)
        self._grow(seen)
        view = self._view(seen.prompts)
        noise = self._hyper.visit_variance
        rest = self._beliefs.update(
            view.outlook, view.design, view.projected, view.rest, seen.successes, seen.trials, noise
        )
        rows = self._table.ensure(seen.prompts.ids)
        kept = {"offset": rest.offset, "pull": rest.pull, "variance": rest.variance}
        travel = view.phi @ self._beliefs.travel
        p = torch.sigmoid(rest.offset + rest.design(view.phi) @ self._beliefs.mean)
        new = {**kept, "step": torch.full_like(travel, float(self._step)), "travel": travel, "signal": 4 * p * (1 - p)}
        self._table.values[rows] = torch.stack([new[name] for name in _COLUMNS], 1)
        self._recent = None
        self._step += 1

    def state_dict(self) -> dict[str, Any]:
        """Return beliefs, hyper-parameters and what they are fitted to; see `Predictor.state_dict`."""
        values = {
            "step": self._step,
            "hyperparameters": self._hyper.to_dict(),
            "prior": self._prior.to_dict(),
            "features": None if self._features is None else self._features.state_dict(),
            "beliefs": self._beliefs.state_dict(),
            "table": self._table.state_dict(),
            "panel": self._panel.state_dict(),
            "spread": self._spread.state_dict(),
        }
        return pack(_KIND, self._settings, values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value; see `Predictor.load_state_dict`."""
        names = frozenset({"step", "hyperparameters", "prior", "features", "beliefs", "table", "panel", "spread"})
        table = PromptTable(_COLUMNS)
        with unpack(state, _KIND, self._settings, names) as values:
            table.load_state_dict(values["table"])
            step = int(values["step"])
            hyper, prior = (Hyperparameters.from_dict(values[name]) for name in ("hyperparameters", "prior"))
            standard = Hyperparameters(lengthscale=prior.lengthscale)
            require(prior == standard and hyper.is_within_reach(prior), "hyper-parameters are out of reach of any fit")
            saved = values["features"]
            features = None if saved is None else NystromFeatures.from_state(saved)
            beliefs = Neighbourhood.from_state(values["beliefs"])
            weights = _LEADING + (0 if features is None else len(features))
            require(len(beliefs.mean) == weights, "Gaussian process does not have one weight for each feature")
            panel, spread = Panel.from_state(values["panel"]), RewardSpread.from_state(values["spread"])
            panel.require_width(None if features is None else len(features.kernel.centre))
            _require_residuals(table, step)
        self._table, self._step, self._hyper, self._prior = table, step, hyper, prior
        self._features, self._beliefs, self._panel, self._spread = features, beliefs, panel, spread
        self._recent = None

    def metrics(self) -> dict[str, float]:
        """Return the number of known prompts and of features, the last fit's duration, `b`, and what is fitted."""
        return {
            "known_prompts": float(len(self._table)),
            "features": float(len(self._beliefs.mean) - _LEADING),
            "fit_seconds": self._fit_seconds,
            "signal_drift": float(self._beliefs.mean[1]),
            **self._hyper.to_dict(),
        }

    def _is_fit_due(self) -> bool:
        step = self._step + 1
        return step % self._refit_every == 0 or (step < self._refit_every and step & (step - 1) == 0)

    def _fit(self, seen: Observations) -> None:
        began = time.perf_counter()
        if self._features is None:
            # In many dimensions typical distances exceed those over which prompts are alike.
            points = seen.prompts.embeddings.detach().cpu().float()
            self._hyper = self._prior = Hyperparameters(lengthscale=0.6 * median_distance(points))
            self._features = NystromFeatures(Kernel.around(points))
        _, old = self._dynamics()
        records = self._panel.records()
        kernel = _clustered(self._features.kernel, records.embeddings)
        self._hyper = fit(records, self._hyper, self._prior, kernel)
        _, new = self._dynamics()
        change = torch.eye(len(self._beliefs.mean), dtype=torch.float64)
        change[_LEADING:, _LEADING:] = self._features.reshape(self._hyper.kernel(kernel))
        self._beliefs.reshape(change, old, new)
        self._recent = None
        self._fit_seconds = time.perf_counter() - began
        logger.debug("fitted %s in %.2f s", self._hyper, self._fit_seconds)

    def _grow(self, seen: Observations) -> None:
        assert self._features is not None
        room = self._limit - len(self._features)
        if room > 0:
            phi = self._view(seen.prompts).phi
            limit = len(self._features) + min(room, max(1, self._limit // 4))
            added = self._features.grow(seen.prompts.embeddings, limit, phi[:, _LEADING:])
            if added:
                self._beliefs.grow(torch.full((added,), self._hyper.shared_variance, dtype=torch.float64))
                self._recent = None

    def _view(self, prompts: Prompts) -> "_View":
        if self._recent is not None and (known := self._recent.of(prompts)) is not None:
            return known
        phi = torch.zeros(len(prompts), _LEADING, dtype=torch.float64)
        phi[:, 0] = 1
        if self._features is not None:
            phi = torch.cat([phi, self._features(prompts.embeddings)], 1)
        outlook = self._beliefs.ahead(*self._dynamics())
        rest = self._residuals(prompts, phi)
        design = rest.design(phi)
        self._recent = _View(prompts, phi, outlook, design, design @ outlook.root, rest)
        return self._recent

    def _dynamics(self) -> tuple[Tensor, Tensor]:
        """Return what a step retains of each weight, and the weights' stationary variances."""
        size = len(self._beliefs.mean)
        steps = torch.full((size,), self._hyper.neighbour_steps, dtype=torch.float64)
        variance = torch.full((size,), self._hyper.shared_variance, dtype=torch.float64)
        steps[:_LEADING] = torch.tensor([self._hyper.level_steps, math.inf])
        variance[:_LEADING] = torch.tensor(_LEADING_VARIANCES)
        return torch.exp(-1 / steps), variance

    def _residuals(self, prompts: Prompts, phi: Tensor) -> Residuals:
        """Carry the prompts' residuals from their last visit to the coming step."""
        variance = torch.full((len(prompts),), self._hyper.prompt_variance, dtype=torch.float64)
        if self._features is not None:
            variance += self._hyper.shared_variance * self._features.unexplained(prompts.embeddings, phi[:, _LEADING:])
        offset, pull = torch.zeros_like(variance), torch.zeros_like(variance)
        rows = self._table.find(prompts.ids)
        known = rows >= 0
        table = dict(zip(_COLUMNS, self._table.values[rows[known]].unbind(1), strict=True))
        kept = torch.exp((table["step"] - self._step) / self._hyper.prompt_steps)
        # The residual was relative to where the neighbourhood stood at the last visit.
        moved = phi[known] @ self._beliefs.travel - table["travel"]
        offset[known] = kept * (table["offset"] + table["pull"] * moved)
        pull[known] = kept * table["pull"]
        variance[known] = kept.square() * table["variance"] + (1 - kept.square()) * variance[known]
        drift = torch.zeros_like(phi)
        # The prior's time constant is that of the whole run, so that `b` means the same after a fit as before.
        share = torch.exp((table["step"] - self._step) / self._prior.prompt_steps)
        drift[known, 1] = share * (1 - share) * table["signal"]
        return Residuals(offset, pull, variance, drift)


def _require_residuals(table: PromptTable, step: int) -> None:
    """Refuse what no sequence of `step` steps leaves of a prompt."""
    fits = (table["variance"] >= 0) & (table["step"] >= 0) & (table["step"] < step)
    for share in ("pull", "signal"):
        fits &= (table[share] >= -1e-9) & (table[share] <= 1 + 1e-9)
    require(fits & (step >= 0), "prompts have residuals that no outcomes leave")


def _clustered(kernel: Kernel, embeddings: Tensor) -> Kernel:
    """Return the kernel with clusters of these embeddings, unless it has them of nearly as many."""
    known = 0 if kernel.clusters is None else kernel.clusters.made_of
    if len(embeddings) < _GROWTH * known:
        return kernel
    clusters = Clusters.of(embeddings)
    return kernel if clusters is None or clusters.made_of < _GROWTH * known else kernel.with_clusters(clusters)


@dataclass(frozen=True)
class _View:
    """A batch as the model sees it ahead of a step.

    Attributes:
        prompts: `B` prompts.
        phi: `B x (2 + m)` features; the first, always 1, carries the level, and the second, always 0, is that of `b`.
        outlook: What is believed of the weights.
        design: `B x (2 + m)`, see `Residuals.design`.
        projected: `design @ outlook.root`.
        rest: What the prompts have for themselves.
    """

    prompts: Prompts
    phi: Tensor
    outlook: Outlook
    design: Tensor
    projected: Tensor
    rest: Residuals

    def of(self, prompts: Prompts) -> "_View | None":
        """Return the view of these prompts, None unless all are among these."""
        if prompts is self.prompts:
            return self
        position = {name: row for row, name in enumerate(self.prompts.ids)}
        rows = torch.tensor([position.get(name, -1) for name in prompts.ids], dtype=torch.long)
        if (rows < 0).any() or not torch.equal(self.prompts.embeddings[rows], prompts.embeddings):
            return None
        rest = self.rest.select(rows)
        return _View(prompts, self.phi[rows], self.outlook, self.design[rows], self.projected[rows], rest)
