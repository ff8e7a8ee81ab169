"""The Gaussian process of the VIP paper (arXiv 2602.01601, section 5.1 and Algorithm 1)."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from verl_vip.annotations import Range, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts, require_width
from verl_vip.prediction.observations import Observations, pool
from verl_vip.prediction.state import copied, pack, require, unpack
from verl_vip.prediction.table import GrowingRows, PromptTable

logger = logging.getLogger(__name__)

#: Rows of the kernel matrix that are computed at once; 16,384 x 512 doubles take 64 MiB.
_CHUNK = 16_384
#: Largest number of prompts in the median heuristic.
_MEDIAN_SAMPLE = 2_048


class GaussianProcess:
    """Predicts `p = sigmoid(m(x))`, with `m` the mean of a Gaussian process over embeddings.

    The kernel is `k(x, x') = exp(-|x - x'|^2 / (2 h^2))`. After each step the observed logits `g` replace the
    mean of the sampled prompts `b`, and the mean of all others moves by noise-free interpolation,

        m  <-  m + k(., b) alpha,    alpha = (k(b, b) + jitter I)^-1 (g - m(b)),

    where the mean is carried from step to step, and the covariance is the kernel again at the start of each step. The
    predicted variance is zero.

    The prompts need not be known beforehand. A table holds the mean of each known prompt and the sum of its `alpha`,
    from which the mean of a prompt never sampled follows exactly as `k(., X) alpha`. A step costs `O(K B d + B^3)` for
    `K` known prompts and batch size `B`, however many steps were taken.

    The paper leaves some points open. Here, `lengthscale="median"` takes the median distance between distinct prompts
    of the first step (an even sample of at most 2,048), and keeps it. Logits are clipped to those of `[eps, 1 - eps]`.
    `jitter`, which repeated prompts make necessary, affects only the interpolation; sampled prompts get exactly their
    logit.

    Args:
        prior_mean: Mean of the logit before any observation: 0 in the paper, -1 in its released code.
        lengthscale: The lengthscale `h`: "median" as in the paper, or a number (the released code's default is 0.5).
        eps: Observed rates are clipped to `[eps, 1 - eps]`.
        jitter: Added to the diagonal of the kernel matrix.
        observation_noise: A departure from the paper, off by default: use the rates `(k + 1/2) / (n + 1)`, add the
            variance `1 / (n p (1 - p))` of their logits (delta method) to the diagonal, and give sampled prompts the
            posterior mean as well.

    Raises:
        ConfigError: If a setting is out of range.
    """

    @checked_settings
    def __init__(
        self,
        prior_mean: Annotated[float, Range(least=-30, most=30)] = 0.0,
        lengthscale: Annotated[float, Range(least=1e-6, most=1e6)] | Literal["median"] = "median",
        eps: Annotated[float, Range(least=1e-12, below=0.5)] = 1e-6,
        jitter: Annotated[float, Range(least=1e-9, most=1e6)] = 1e-4,
        observation_noise: bool = False,
    ) -> None:
        self._settings = {
            "prior_mean": prior_mean,
            "lengthscale": lengthscale,
            "eps": eps,
            "jitter": jitter,
            "observation_noise": observation_noise,
        }
        self._prior_mean, self._eps, self._jitter = prior_mean, eps, jitter
        self._noisy = observation_noise
        self._lengthscale = None if isinstance(lengthscale, str) else float(lengthscale)
        self._table = PromptTable({"mean": prior_mean, "alpha": 0.0})
        self._embeddings: GrowingRows | None = None

    def predict(self, prompts: Prompts) -> Prediction:
        """Return `sigmoid(m)`, with variance zero."""
        mean = torch.sigmoid(self._mean(prompts))
        return Prediction(mean, torch.zeros_like(mean))

    @torch.no_grad()
    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Move the mean to the observed logits."""
        seen = pool(prompts, successes, trials, squares)
        if not len(seen.prompts):
            return
        points = self._points(seen.prompts)
        if self._lengthscale is None:
            self._lengthscale = median_distance(points)
        logits, noise = self._logits(seen)
        prior = self._mean(seen.prompts)
        alpha = self._solve(points, noise, logits - prior)
        old = len(self._table)
        known = slice(0, old)
        shift = [self._kernel(chunk, points) @ alpha for chunk in self._known_chunks()]
        if old:
            self._table["mean"][known] += torch.cat(shift)
        rows = self._table.ensure(seen.prompts.ids)
        fresh = rows >= old
        self._append(seen.prompts.embeddings[fresh])
        self._table["alpha"][rows] += alpha
        if self._noisy:
            self._table["mean"][rows[fresh]] = (prior + self._kernel(points, points) @ alpha)[fresh]
        else:
            self._table["mean"][rows] = logits

    def state_dict(self) -> dict[str, Any]:
        """Return the known prompts with their embeddings, means and weights."""
        values = {
            "lengthscale": self._lengthscale,
            "table": self._table.state_dict(),
            "embeddings": None if self._embeddings is None else self._embeddings.rows.clone(),
        }
        return pack("gaussian_process", self._settings, values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        names = frozenset({"lengthscale", "table", "embeddings"})
        table = PromptTable({"mean": self._prior_mean, "alpha": 0.0})
        with unpack(state, "gaussian_process", self._settings, names) as values:
            table.load_state_dict(values["table"])
            embeddings = values["embeddings"]
            if embeddings is not None:
                embeddings = copied(embeddings, torch.float32, None, None)
            alike = len(table) == (0 if embeddings is None else len(embeddings))
            require(alike, "Gaussian process does not have one embedding for each known prompt")
            lengthscale = self._lengthscale if embeddings is None else float(values["lengthscale"])
            if embeddings is not None:
                require(lengthscale is not None and lengthscale > 0, "lengthscale is not positive")
        self._table, self._lengthscale, self._embeddings = table, lengthscale, None
        if embeddings is not None:
            self._append(embeddings)

    def metrics(self) -> dict[str, float]:
        """Return the number of known prompts and the lengthscale."""
        lengthscale = {} if self._lengthscale is None else {"lengthscale": self._lengthscale}
        return {"known_prompts": float(len(self._table)), **lengthscale}

    @torch.no_grad()
    def _mean(self, prompts: Prompts) -> Tensor:
        """Return a `B` tensor: the carried mean of known prompts, `k(., X) alpha` for the others."""
        rows = self._table.find(prompts.ids)
        mean = self._table.lookup(prompts.ids, "mean")
        unseen = rows < 0
        if self._embeddings is not None and unseen.any():
            points = self._points(prompts)[unseen]
            weights = torch.split(self._table["alpha"], _CHUNK)
            for chunk, alpha in zip(self._known_chunks(), weights, strict=True):
                mean[unseen] += self._kernel(points, chunk) @ alpha
        return mean

    def _logits(self, seen: Observations) -> tuple[Tensor, Tensor]:
        """Return the observed logits and the variances to put on the diagonal, `B` each."""
        if self._noisy:
            rate = (seen.successes + 0.5) / (seen.trials + 1)
            return torch.logit(rate), self._jitter + 1 / (seen.trials * rate * (1 - rate))
        rate = seen.rate.clamp(self._eps, 1 - self._eps)
        return torch.logit(rate), torch.full_like(rate, self._jitter)

    def _solve(self, points: Tensor, noise: Tensor, residual: Tensor) -> Tensor:
        from linear_operator.utils.cholesky import psd_safe_cholesky

        factor = psd_safe_cholesky(self._kernel(points, points) + torch.diag(noise))
        return torch.cholesky_solve(residual[:, None], factor)[:, 0]

    def _kernel(self, left: Tensor, right: Tensor) -> Tensor:
        from gpytorch.kernels import RBFKernel

        kernel = RBFKernel().double()
        # A Python float would be rounded to single precision.
        kernel.lengthscale = torch.tensor(self._lengthscale, dtype=torch.float64)
        matrix: Tensor = kernel(left, right).to_dense()
        return matrix

    def _known_chunks(self) -> Iterator[Tensor]:
        if self._embeddings is not None:
            for chunk in torch.split(self._embeddings.rows, _CHUNK):
                yield chunk.double()

    def _points(self, prompts: Prompts) -> Tensor:
        points = prompts.embeddings.detach().to("cpu", torch.float32).double()
        if self._embeddings is not None:
            require_width(points, self._embeddings.rows.shape[1])
        return points

    def _append(self, embeddings: Tensor) -> None:
        if self._embeddings is None:
            self._embeddings = GrowingRows(embeddings.shape[1], torch.float32)
        self._embeddings.append(embeddings.detach().to("cpu", torch.float32))


def median_distance(points: Tensor) -> float:
    """Return the median Euclidean distance between distinct rows of a `B x d` tensor.

    The median is over an even sample of at most 2,048 rows. If no two rows differ, the result is 1, the order of the
    distances between unit vectors, with a warning.
    """
    stride = max(1, math.ceil(points.shape[0] / _MEDIAN_SAMPLE))
    distances = torch.nn.functional.pdist(points[::stride])
    positive = distances[distances > 0]
    if positive.numel() == 0:
        logger.warning("All prompts of the first step have the same embedding; the lengthscale is set to 1.")
        return 1.0
    return float(positive.median())
