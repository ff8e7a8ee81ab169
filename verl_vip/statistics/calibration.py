"""The quality of predicted success probabilities, measured on the sampled rollouts.

In all functions, `mean` is a `B` tensor of predicted probabilities in [0, 1], `successes` a `B` tensor of summed
rewards and `trials` a `B` tensor of rollout counts. Every prompt with at least one rollout has the same weight,
whatever its count, so that results do not depend on the allocation that the predictions helped to choose.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError


@dataclass(frozen=True)
class Reliability:
    """Predicted and observed success rates, in bins of the prediction.

    Attributes:
        edges: A `K + 1` tensor of bin limits from 0 to 1. A bin includes its lower limit, and the last bin both limits.
        prompts: A `K` int64 tensor, the number of prompts in each bin.
        predicted: A `K` tensor, their mean prediction; NaN in an empty bin.
        observed: A `K` tensor, their mean success rate; NaN in an empty bin.
    """

    edges: Tensor
    prompts: Tensor
    predicted: Tensor
    observed: Tensor


def brier(mean: Tensor, successes: Tensor, trials: Tensor) -> float:
    """Return the mean of `(r - p)^2` over a prompt's rollouts, averaged over prompts.

    Lower is better. With 0/1 rewards, the expected score of a prompt with success probability p is at least
    `p (1 - p)`. Rewards in between shift the score by a constant that is the same for every predictor.
    """
    mean, rate = _checked(mean, successes, trials)
    return float((rate * (1 - mean).square() + (1 - rate) * mean.square()).mean())


def log_loss(mean: Tensor, successes: Tensor, trials: Tensor, eps: float = 1e-6) -> float:
    """Return the negative log likelihood of one rollout in nats, averaged over prompts.

    Args:
        mean: A `B` tensor of predictions.
        successes: A `B` tensor of summed rewards.
        trials: A `B` tensor of rollout counts.
        eps: Predictions are clipped to `[eps, 1 - eps]`, so that a wrong prediction of 0 or 1 has a finite loss.
    """
    mean, rate = _checked(mean, successes, trials)
    clipped = mean.clamp(eps, 1 - eps)
    return float(-(rate * clipped.log() + (1 - rate) * (-clipped).log1p()).mean())


def reliability(mean: Tensor, successes: Tensor, trials: Tensor, bins: int = 10) -> Reliability:
    """Return the reliability table with bins of equal width.

    Args:
        mean: A `B` tensor of predictions.
        successes: A `B` tensor of summed rewards.
        trials: A `B` tensor of rollout counts.
        bins: Number of bins `K`.

    Raises:
        InvalidInputError: If `bins` is less than 1, or the tensors are malformed.
    """
    if bins < 1:
        raise InvalidInputError(f"bins must be at least 1; got {bins}.")
    mean, rate = _checked(mean, successes, trials)
    position = (mean * bins).long().clamp(max=bins - 1)
    counts = torch.bincount(position, minlength=bins)
    empty = torch.zeros(bins, dtype=torch.float64)
    return Reliability(
        edges=torch.linspace(0, 1, bins + 1, dtype=torch.float64),
        prompts=counts,
        predicted=empty.index_add(0, position, mean) / counts,
        observed=empty.index_add(0, position, rate) / counts,
    )


def ece(mean: Tensor, successes: Tensor, trials: Tensor, bins: int = 10) -> float:
    """Return the expected calibration error: `|predicted - observed|` of each bin, weighted by its prompts.

    Args:
        mean: A `B` tensor of predictions.
        successes: A `B` tensor of summed rewards.
        trials: A `B` tensor of rollout counts.
        bins: Number of bins of equal width.
    """
    table = reliability(mean, successes, trials, bins)
    gap = (table.predicted - table.observed).abs().nan_to_num(0.0)
    return float((gap * table.prompts).sum() / table.prompts.sum())


def spearman(mean: Tensor, successes: Tensor, trials: Tensor) -> float:
    """Return Spearman's rank correlation of predictions and observed rates; NaN if either is constant."""
    from scipy.stats import spearmanr

    mean, rate = _checked(mean, successes, trials)
    if len(mean) < 2 or mean.min() == mean.max() or rate.min() == rate.max():
        return math.nan
    return float(spearmanr(mean.numpy(), rate.numpy()).statistic)


def _checked(mean: Tensor, successes: Tensor, trials: Tensor) -> tuple[Tensor, Tensor]:
    """Return predictions and observed rates of the prompts with rollouts, as float64 on the CPU."""
    if mean.ndim != 1 or mean.shape != successes.shape or mean.shape != trials.shape:
        raise InvalidInputError(
            "mean, successes and trials must be (B,) tensors of one length; "
            f"got {tuple(mean.shape)}, {tuple(successes.shape)} and {tuple(trials.shape)}."
        )
    mean, won, tried = (x.detach().to("cpu", torch.float64) for x in (mean, successes, trials))
    used = tried > 0
    if not used.any():
        raise InvalidInputError("no prompt has a rollout, so there is nothing to judge predictions by.")
    mean, rate = mean[used], won[used] / tried[used]
    for name, values in (("mean", mean), ("successes / trials", rate)):
        if not ((values >= 0) & (values <= 1)).all():
            raise InvalidInputError(f"{name} must lie in [0, 1]; got values outside, or NaN.")
    return mean, rate
