"""A Gaussian process that follows drifting success probabilities, with uncertainty, at constant cost."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from verl_vip.annotations import Count, checked_settings
from verl_vip.prediction.baselines.gaussian_process import median_distance
from verl_vip.prediction.contract import LogitFactors, Prediction, Prompts
from verl_vip.prediction.drifting_gp.clusters import Clusters
from verl_vip.prediction.drifting_gp.covariate_effects import CovariateEffects
from verl_vip.prediction.drifting_gp.features import NystromFeatures
from verl_vip.prediction.drifting_gp.filter import BatchPrior, KalmanFilter, Residuals
from verl_vip.prediction.drifting_gp.fit import LEVEL_VARIANCE, Hyperparameters, fit
from verl_vip.prediction.drifting_gp.kernel import Kernel
from verl_vip.prediction.drifting_gp.panel import Panel
from verl_vip.prediction.drifting_gp.variance_ratio import VarianceRatio
from verl_vip.prediction.logistic_normal import probability_moments
from verl_vip.prediction.observations import Observations, pool
from verl_vip.prediction.state import pack, require, unpack
from verl_vip.prediction.table import PromptTable

logger = logging.getLogger(__name__)

_KIND = "drifting_gp"
#: The state of each prompt after its last visit: its residual (offset, gain, variance), the training step, the
#: displacement of its features' weights, `phi . displacement`, and its signal, `4 p (1 - p)`.
_COLUMNS = {"offset": 0.0, "gain": 0.0, "variance": 0.0, "step": -1.0, "displacement": 0.0, "signal": 0.0}
#: Prior variances of the first two weights: the level, and `b`, whose prior is wide. The weights of the covariates
#: follow, and then those of the embedding's features.
_LEADING_VARIANCES = (LEVEL_VARIANCE, 25.0)
#: Prompts are clustered again when the panel has grown by this factor.
_GROWTH = 1.5


class DriftingGaussianProcess:
    """Predicts `E[p]` and `Var[p]` from a prompt's own outcomes and from those of similar prompts.

    The logit of prompt `q` at training step `t` is the sum of five parts,

        g_q(t) = level(t) + z_q . v(t) + phi(x_q) . w(t) + u_q(t) + e_q(t),    k_q ~ Binomial(n_q, sigmoid(g_q(t))):

    - a level common to all prompts;
    - an effect of the covariates `z_q`, if there are any, linear with weights of unknown sign and size (see
      `covariate_effects.CovariateEffects`);
    - an effect of the embedding `x_q`, with finite features `phi` of a radial, a linear and a cluster kernel (see
      `kernel.Kernel`); what the features miss of the kernel is added to the variance of `u_q` (Snelson & Ghahramani,
      NeurIPS 2005), and fades as slowly as `w` there;
    - an effect `u_q` of the prompt alone;
    - an effect `e_q` of this visit alone, independent between visits and shared by the rollouts of one. It correlates
      them, so that successes vary more than binomially, by about `Var[e] p (1 - p)`. A beta-binomial would do the same;
      the Gaussian part adds to the others and keeps the likelihood log-concave.

    All but the last are Ornstein-Uhlenbeck processes, which revert to zero. The level and `v` have one time constant,
    `w` and `u_q` one each. A Kalman filter follows the level, `v` and `w`. `u_q` is stored for each prompt as a
    Gaussian given these, and is carried forward when the prompt is sampled again. Binomial outcomes enter by moment
    matching.

    `u_q` also drifts between visits, by `b r (1 - r) 4 p (1 - p)`, where `p` is the probability at the last visit, `t`
    steps ago, and `r = exp(-t / 100)`. Policy gradients move a prompt while its rollouts have both outcomes, and leave
    one that is always solved or never solved where it is, as recorded runs show (`benchmarks/traces`); after a long
    time this effect is forgotten. The coefficient `b` is learned together with `w`, and stays near zero where training
    shows no such drift.

    Differences from the paper's process (`GaussianProcess`):

    - an outcome of few rollouts changes a prediction less than one of many;
    - old evidence loses weight over time;
    - uncertainty is tracked, so that `Prediction.reward_variance` is `E[p (1 - p)]` and not its plug-in value;
    - all hyper-parameters but the level's variance are fitted by marginal likelihood (see `fit.fit`) to the outcomes of
      a panel of prompts, at steps 1, 2, 4, ... and then at every `refit_every`-th. What was learned under the earlier
      hyper-parameters carries over to the new ones. While the panel grows, prompts are clustered again at these steps.

    A step costs `O(B m (m + d) + m^3)` for batch size `B` and `m` features, however many steps were taken and however
    many prompts are known. A known prompt takes six numbers.

    Rewards between 0 and 1 count as fractional successes. This overstates their noise; `VarianceRatio` estimates by how
    much.

    One approximation remains: how far the features' weights have moved between two visits is estimated, but the
    uncertainty of that estimate is not carried along. Where the level or the weights jump at random, intervals are
    therefore too narrow. Under steady improvement, leaving it out predicts better.

    Args:
        features: Largest number of features `m`. Inducing points are chosen among the prompts of the first steps, at
            most a quarter of them in one step.
        refit_every: Steps between fits, once a run is under way.

    Raises:
        ConfigError: If a setting is out of range.
    """

    uses_covariates = True

    @checked_settings
    def __init__(self, features: Count = 256, refit_every: Count = 16) -> None:
        self._settings = {"features": features, "refit_every": refit_every}
        self._max_features, self._refit_every = features, refit_every
        self._step = 0
        self._hyper = self._prior = Hyperparameters()
        self._features: NystromFeatures | None = None
        self._effects = CovariateEffects()
        self._filter = KalmanFilter(self._leading_variances())
        self._table = PromptTable(_COLUMNS)
        self._panel = Panel()
        self._ratio = VarianceRatio()
        self._fit_seconds = 0.0
        # What `predict` has computed, for the `observe` that follows with the same prompts. Dropped at every change.
        self._cached: BatchPrior | None = None

    @torch.no_grad()
    def predict(self, prompts: Prompts) -> Prediction:
        """Return the mean and variance of `p` at the coming step."""
        batch = self._batch_prior(prompts)
        mean = batch.residuals.offset + batch.design @ batch.prior.mean
        own = batch.residuals.variance + self._hyper.visit_variance
        variance = batch.projected.square().sum(1) + own
        logits = LogitFactors(mean, batch.projected, own)
        return Prediction(*probability_moments(mean, variance), self._ratio.predict(prompts.ids), logits=logits)

    @torch.no_grad()
    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Learn from one step, and refit the hyper-parameters when that is due."""
        seen = pool(prompts, successes, trials, squares)
        if not len(seen.prompts):
            return
        if self._features is None:
            self._effects = CovariateEffects.of(seen.prompts)
            self._filter = KalmanFilter(self._leading_variances())
        else:
            self._features.require_width(seen.prompts.embeddings)
        self._panel.add(seen, self._step, self._effects.values(seen.prompts))
        self._ratio.observe(seen)
        self._fit_seconds = 0.0
        if self._features is None or self._is_fit_due():
            self._fit(seen)
        self._grow(seen)
        batch = self._batch_prior(seen.prompts)
        residuals = self._filter.update(
            batch.prior,
            batch.design,
            batch.projected,
            batch.residuals,
            seen.successes,
            seen.trials,
            self._hyper.visit_variance,
        )
        displacement = batch.features @ self._filter.displacement
        p = torch.sigmoid(residuals.offset + residuals.design(batch.features) @ self._filter.mean)
        values = {
            "offset": residuals.offset,
            "gain": residuals.gain,
            "variance": residuals.variance,
            "step": torch.full_like(p, float(self._step)),
            "displacement": displacement,
            "signal": 4 * p * (1 - p),
        }
        rows = self._table.ensure(seen.prompts.ids)
        self._table.values[rows] = torch.stack([values[name] for name in _COLUMNS], 1)
        self._cached = None
        self._step += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the posterior, the hyper-parameters, and the outcomes that they are fitted to."""
        values = {
            "step": self._step,
            "hyperparameters": self._hyper.to_dict(),
            "prior": self._prior.to_dict(),
            "features": None if self._features is None else self._features.state_dict(),
            "effects": self._effects.state_dict(),
            "filter": self._filter.state_dict(),
            "table": self._table.state_dict(),
            "panel": self._panel.state_dict(),
            "variance_ratio": self._ratio.state_dict(),
        }
        return pack(_KIND, self._settings, values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        names = frozenset(
            {"step", "hyperparameters", "prior", "features", "effects", "filter", "table", "panel", "variance_ratio"}
        )
        table = PromptTable(_COLUMNS)
        with unpack(state, _KIND, self._settings, names) as values:
            table.load_state_dict(values["table"])
            step = int(values["step"])
            hyper, prior = (Hyperparameters.from_dict(values[name]) for name in ("hyperparameters", "prior"))
            standard = Hyperparameters(lengthscale=prior.lengthscale)
            require(
                prior == standard and hyper.is_within_bounds(prior), "hyper-parameters are outside the range of any fit"
            )
            saved = values["features"]
            features = None if saved is None else NystromFeatures.from_state(saved)
            effects, weights = CovariateEffects.from_state(values["effects"]), KalmanFilter.from_state(values["filter"])
            expected = len(_LEADING_VARIANCES) + len(effects) + (0 if features is None else len(features))
            require(len(weights.mean) == expected, "Gaussian process does not have one weight for each feature")
            panel, ratio = Panel.from_state(values["panel"]), VarianceRatio.from_state(values["variance_ratio"])
            panel.require_width(None if features is None else len(features.kernel.centre), len(effects))
            _require_residuals(table, step)
        self._table, self._step, self._hyper, self._prior = table, step, hyper, prior
        self._features, self._effects, self._filter = features, effects, weights
        self._panel, self._ratio = panel, ratio
        self._cached = None

    def metrics(self) -> dict[str, float]:
        """Return counts of known prompts and features, the last fit's seconds, `b`, and the hyper-parameters.

        For each column of covariates, `covariate/NAME` is the size of its effects on the logit, a standard deviation.
        """
        return {
            "known_prompts": float(len(self._table)),
            "features": float(len(self._filter.mean) - self._leading),
            "fit_seconds": self._fit_seconds,
            "signal_drift": float(self._filter.mean[1]),
            **self._hyper.to_dict(),
            **{f"covariate/{name}": size for name, size in self._effects.sizes().items()},
        }

    def _is_fit_due(self) -> bool:
        step = self._step + 1
        return step % self._refit_every == 0 or (step < self._refit_every and step & (step - 1) == 0)

    def _fit(self, seen: Observations) -> None:
        began = time.perf_counter()
        if self._features is None:
            # In many dimensions, typical distances exceed the distance over which prompts are alike.
            points = seen.prompts.embeddings.detach().cpu().float()
            self._hyper = self._prior = Hyperparameters(lengthscale=0.6 * median_distance(points))
            self._features = NystromFeatures(Kernel.from_embeddings(points))
        _, old = self._dynamics()
        visits = self._panel.visits()
        kernel = _clustered(self._features.kernel, visits.embeddings)
        own = slice(len(_LEADING_VARIANCES), self._leading)
        if self._step:
            self._effects.refit(self._filter.mean[own], self._filter.covariance[own, own])
        covariates = self._effects.kernel(visits.covariates)
        self._hyper = fit(visits, self._hyper, self._prior, kernel, covariates)
        _, new = self._dynamics()
        basis = torch.eye(len(self._filter.mean), dtype=torch.float64)
        basis[self._leading :, self._leading :] = self._features.change_kernel(self._hyper.kernel(kernel))
        self._filter.change_basis(basis, old, new)
        self._cached = None
        self._fit_seconds = time.perf_counter() - began
        logger.debug("fitted %s in %.2f s", self._hyper, self._fit_seconds)

    def _grow(self, seen: Observations) -> None:
        assert self._features is not None
        room = self._max_features - len(self._features)
        if room > 0:
            features = self._batch_prior(seen.prompts).features
            limit = len(self._features) + min(room, max(1, self._max_features // 4))
            added = self._features.grow(seen.prompts.embeddings, limit, features[:, self._leading :])
            if added:
                self._filter.grow(torch.full((added,), self._hyper.shared_variance, dtype=torch.float64))
                self._cached = None

    def _batch_prior(self, prompts: Prompts) -> BatchPrior:
        if self._cached is not None and (known := self._cached.select(prompts)) is not None:
            return known
        # The first feature is the level's. That of `b` is zero: `b` enters through the residuals' drift.
        leading = torch.zeros(len(prompts), len(_LEADING_VARIANCES), dtype=torch.float64)
        leading[:, 0] = 1
        if self._features is None:  # which covariates there are is not known before the first outcomes
            features = leading
        else:
            features = torch.cat([leading, self._effects.values(prompts), self._features(prompts.embeddings)], 1)
        prior = self._filter.predict(*self._dynamics())
        residuals = self._residuals(prompts, features)
        design = residuals.design(features)
        self._cached = BatchPrior(prompts, features, prior, design, design @ prior.root, residuals)
        return self._cached

    @property
    def _leading(self) -> int:
        """The number of weights before those of the embedding's features."""
        return len(_LEADING_VARIANCES) + len(self._effects)

    def _leading_variances(self) -> Tensor:
        return torch.cat([torch.tensor(_LEADING_VARIANCES, dtype=torch.float64), self._effects.variance])

    def _dynamics(self) -> tuple[Tensor, Tensor]:
        """Return the factor by which a step shrinks each weight, and the weights' stationary variances."""
        size = len(self._filter.mean)
        steps = torch.full((size,), self._hyper.neighbour_steps, dtype=torch.float64)
        variance = torch.full((size,), self._hyper.shared_variance, dtype=torch.float64)
        steps[: self._leading] = self._hyper.level_steps
        steps[1] = math.inf
        variance[: self._leading] = self._leading_variances()
        return torch.exp(-1 / steps), variance

    def _residuals(self, prompts: Prompts, features: Tensor) -> Residuals:
        """Carry the prompts' residuals from their last visit to the coming step."""
        own = torch.full((len(prompts),), self._hyper.prompt_variance, dtype=torch.float64)
        missed = torch.zeros_like(own)
        if self._features is not None:
            missed = self._features.residual_variance(prompts.embeddings, features[:, self._leading :])
            missed *= self._hyper.shared_variance
        variance = own + missed
        offset, gain = torch.zeros_like(variance), torch.zeros_like(variance)
        rows = self._table.find(prompts.ids)
        known = rows >= 0
        table = dict(zip(_COLUMNS, self._table.values[rows[known]].unbind(1), strict=True))
        # What the features miss of the kernel is forgotten as slowly as what they explain.
        elapsed = self._step - table["step"]
        retention = own[known] * torch.exp(-elapsed / self._hyper.prompt_steps)
        retention += missed[known] * torch.exp(-elapsed / self._hyper.neighbour_steps)
        retention /= variance[known]
        # The residual is relative to the weights at the last visit.
        moved = features[known] @ self._filter.displacement - table["displacement"]
        offset[known] = retention * (table["offset"] + table["gain"] * moved)
        gain[known] = retention * table["gain"]
        variance[known] = retention.square() * table["variance"] + (1 - retention.square()) * variance[known]
        drift = torch.zeros_like(features)
        # The prior's time constant is the same for the whole run, so that a fit does not change the meaning of `b`.
        decay = torch.exp(-elapsed / self._prior.prompt_steps)
        drift[known, 1] = decay * (1 - decay) * table["signal"]
        return Residuals(offset, gain, variance, drift)


def _require_residuals(table: PromptTable, step: int) -> None:
    """Raise `StateError` if the table holds values that `step` steps cannot produce."""
    fits = (table["variance"] >= 0) & (table["step"] >= 0) & (table["step"] < step)
    for share in ("gain", "signal"):
        fits &= (table[share] >= -1e-9) & (table[share] <= 1 + 1e-9)
    require(fits & (step >= 0), "prompts have residuals that no outcomes can produce")


def _clustered(kernel: Kernel, embeddings: Tensor) -> Kernel:
    """Return the kernel with clusters of these embeddings, or as it is if its clusters come from nearly as many."""
    known = 0 if kernel.clusters is None else kernel.clusters.num_prompts
    if len(embeddings) < _GROWTH * known:
        return kernel
    clusters = Clusters.fit(embeddings)
    return kernel if clusters is None or clusters.num_prompts < _GROWTH * known else kernel.with_clusters(clusters)
