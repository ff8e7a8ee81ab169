"""How good predictions are on a recorded run, with intervals.

The true success probability p of a visit is unknown. All scores use the visit's own 8 rollouts, k of them successful,
which neither the predictor nor hindsight has seen.

- `log_loss`: the negative log likelihood of a rollout in nats, with predictions clipped to [.001, .999]. Its `floor` is
  the entropy of hindsight's probabilities. Hindsight's own log loss is a little above it.
- `ece`, `bias`, `spearman`: calibration, see `verl_vip.statistics.calibration`.
- `variance_left`: the summed gradient variance with the allocator's counts (8 a prompt on average, 3 to 32 each), as a
  share of that with 8 rollouts for each prompt and the same estimator. `k (8 - k) / 56` is an unbiased estimate of
  p (1 - p). For the predicted baseline, the error of the prediction counts too (`estimated_variance`).
- `share`: the reduction of that variance, as a share of hindsight's, called attainable.
- `baseline_alone`: the variance with the predicted baseline and equal counts, as a share of RLOO's with equal counts.
- `moved`: the share of a batch's rollouts that RLOO's counts move from one prompt to another.
- `top_signal`, `top_mixed`: in the quarter of each batch with the largest predicted reward variance, the mean of
  p (1 - p) relative to the batch's, and the share of groups whose rollouts have both outcomes.

All are ratios of sums over visits. An `interval` is a 95 % interval from 1,000 bootstrap samples of prompts, each with
all of its visits, over all placements together. `placements` are the least and the largest value of a single placement.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, get_args

import torch
from torch import Tensor

from benchmarks.real_records.record import ROLLOUTS, Placement
from benchmarks.real_records.replay import DEFAULT
from verl_vip.allocation import allocate
from verl_vip.allocation.variances import DrGrpo, Rloo
from verl_vip.config import EstimatorName
from verl_vip.prediction.contract import Prediction
from verl_vip.statistics.calibration import ece, spearman
from verl_vip.strategies.gradient_variance import GradientVariance

LOWER, UPPER, EPS, RESAMPLES = 3, 32, 1e-3, 1000
#: Ranges of steps, the first and the last; an epoch of the recorded run has nine or ten.
ERAS = {"1-9": (1, 9), "10-19": (10, 19), "20-95": (20, 95), "96-500": (96, 500), "20-500": (20, 500)}
ESTIMATORS: tuple[EstimatorName, ...] = get_args(EstimatorName)

#: Sums over visits by name, each a `K x P` tensor: for each placement and prompt.
Sums = Mapping[str, Tensor]


@dataclass(frozen=True)
class ScoredVisits:
    """Every visit of one placement, scored; each tensor is `S x B`."""

    placement: Placement
    mean: Tensor
    scored: Mapping[str, Tensor]


def unbiased_variance(successes: Tensor) -> Tensor:
    """Return the unbiased estimate of p (1 - p) from `ROLLOUTS` rollouts."""
    return successes * (ROLLOUTS - successes) / (ROLLOUTS * (ROLLOUTS - 1))


def estimated_variance(estimator: EstimatorName, counts: Tensor, successes: Tensor, prediction: Prediction) -> Tensor:
    """Return unbiased estimates of the gradient variance of `B` groups with the given counts.

    With the predicted baseline `b = (s m + sum of the other rewards) / (s + n - 1)`, the variance of a group is
    `E[(r - b)^2] / n = (v (1 + (n - 1) / t^2) + (s / t)^2 (m - p)^2) / n`, where v = p (1 - p) and t = s + n - 1.
    """
    variance, n = unbiased_variance(successes), counts.double()
    if estimator == "predicted_baseline":
        belief = GradientVariance(estimator).belief(prediction)
        error = (successes / ROLLOUTS - belief.mean).square() - variance / ROLLOUTS
        total = belief.strength + n - 1
        return (variance * (1 + (n - 1) / total.square()) + (belief.strength / total).square() * error) / n
    shape = (Rloo if estimator == "rloo" else DrGrpo)(torch.ones_like(n).numpy()).shape(n.numpy())
    return variance * torch.as_tensor(shape)


def allocated(estimator: EstimatorName, prediction: Prediction) -> Tensor:
    """Return the allocator's counts for `B` predictions, `ROLLOUTS` on average."""
    objective = GradientVariance(estimator).objective(prediction)
    budget = ROLLOUTS * len(prediction.mean)
    return allocate(None, budget, lower=LOWER, upper=min(UPPER, budget), objective=objective)


def score(predictions: Sequence[Prediction], placement: Placement, seed: int = 0) -> ScoredVisits:
    """Score each visit; `seed` is for ties in the choice of the top quarter."""
    generator = torch.Generator().manual_seed(seed)
    steps = [
        _score_step(prediction, successes, generator)
        for prediction, successes in zip(predictions, placement.successes, strict=True)
    ]
    scored = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
    return ScoredVisits(placement, torch.stack([prediction.mean for prediction in predictions]), scored)


def _score_step(prediction: Prediction, successes: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    rate, variance = successes / ROLLOUTS, unbiased_variance(successes)
    mixed = ((successes > 0) & (successes < ROLLOUTS)).double()
    clipped = prediction.mean.double().clamp(EPS, 1 - EPS)
    ties = torch.randperm(len(rate), generator=generator)
    order = ties[prediction.reward_variance[ties].argsort(descending=True, stable=True)]
    top = torch.zeros_like(rate).index_fill(0, order[: len(rate) // 4], 1.0)
    found = {
        "visits": torch.ones_like(rate),
        "loss": -(rate * clipped.log() + (1 - rate) * (1 - clipped).log()),
        "entropy": -(clipped * clipped.log() + (1 - clipped) * (1 - clipped).log()),
        "bias": prediction.mean.double() - rate,
        "signal": variance,
        "mixed": mixed,
        "top": top,
        "top signal": top * variance,
        "top mixed": top * mixed,
    }
    even = torch.full((len(rate),), ROLLOUTS)
    for estimator in ESTIMATORS:
        counts = allocated(estimator, prediction)
        if estimator == "rloo":
            found["moved"] = (counts - ROLLOUTS).abs().double() / (2 * ROLLOUTS)
        found[estimator] = estimated_variance(estimator, counts, successes, prediction)
        found[f"even {estimator}"] = estimated_variance(estimator, even, successes, prediction)
    return found


def sums_by_prompt(values: Tensor, placement: Placement, era: tuple[int, int], num_prompts: int) -> Tensor:
    """Sum an `S x B` tensor over the steps of an era, for each of `P` prompts."""
    steps = slice(era[0] - 1, era[1])
    rows = placement.prompt[steps].flatten()
    return torch.zeros(num_prompts, dtype=torch.float64).index_add(0, rows, values[steps].flatten())


def estimate(sums: Sums, formula: Callable[[Sums], Tensor]) -> dict[str, Any]:
    """Return the value of a formula of sums, with its interval over prompts and its range over placements."""
    draws = _resamples(next(iter(sums.values())).shape[1])
    drawn = formula({name: draws @ each.sum(0) for name, each in sums.items()})
    each = formula({name: one.sum(1) for name, one in sums.items()})
    return {
        "value": _rounded(formula({name: one.sum() for name, one in sums.items()})),
        "interval": [_rounded(drawn.nanquantile(q)) for q in (0.025, 0.975)],
        "placements": [_rounded(each.min()), _rounded(each.max())],
    }


@cache
def _resamples(num_prompts: int) -> Tensor:
    """Return how often each prompt is in each bootstrap sample, `RESAMPLES x P`; always the same, so paired."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(num_prompts, (RESAMPLES, num_prompts), generator=generator)
    return torch.stack([torch.bincount(rows, minlength=num_prompts) for rows in drawn]).double()


def _rounded(value: Tensor | float) -> float:
    return round(float(value), 5)


def judge(
    visits: Mapping[str, Sequence[ScoredVisits]],
    attainable: Sequence[ScoredVisits],
    era: tuple[int, int],
    num_prompts: int,
) -> dict[str, Any]:
    """Return the scores of each predictor, the default included, and of hindsight in a range of steps.

    Args:
        visits: For each predictor the scored visits of every placement.
        attainable: Those of hindsight.
        era: The first and last step.
        num_prompts: The prompts of the pool.
    """

    def sums(placements: Sequence[ScoredVisits], prefix: str = "") -> dict[str, Tensor]:
        return {
            prefix + name: torch.stack(
                [sums_by_prompt(one.scored[name], one.placement, era, num_prompts) for one in placements]
            )
            for name in placements[0].scored
        }

    best, default = sums(attainable, "best "), sums(visits[DEFAULT], "default ")
    result: dict[str, Any] = {
        "visits": int(best["best visits"].sum()) // len(attainable),
        "mixed": estimate(best, lambda x: x["best mixed"] / x["best visits"]),
        "floor": estimate(best, lambda x: x["best entropy"] / x["best visits"]),
    }
    for name, placements in {**visits, "hindsight": attainable}.items():
        found = {**sums(placements), **best, **default}
        scores = {key: estimate(found, formula) for key, formula in FORMULAS.items()}
        result[name] = {**scores, **_calibration(placements, era)}
    return result


def _calibration(placements: Sequence[ScoredVisits], era: tuple[int, int]) -> dict[str, Any]:
    steps = slice(era[0] - 1, era[1])
    mean = torch.cat([one.mean[steps].flatten() for one in placements]).double()
    successes = torch.cat([one.placement.successes[steps].flatten() for one in placements])
    trials = torch.full_like(successes, ROLLOUTS)
    rank = spearman(mean, successes, trials)
    return {"ece": _rounded(ece(mean, successes, trials)), "spearman": None if math.isnan(rank) else _rounded(rank)}


def _formulas() -> dict[str, Callable[[Sums], Tensor]]:
    formulas: dict[str, Callable[[Sums], Tensor]] = {
        "log_loss": lambda x: x["loss"] / x["visits"],
        "log_loss_above_default": lambda x: (x["loss"] - x["default loss"]) / x["visits"],
        "bias": lambda x: x["bias"] / x["visits"],
        "moved": lambda x: x["moved"] / x["visits"],
        "top_signal": lambda x: x["top signal"] / x["top"] / (x["signal"] / x["visits"]),
        "top_mixed": lambda x: x["top mixed"] / x["top"],
        "baseline_alone": lambda x: x["even predicted_baseline"] / x["even rloo"],
        "variance_above_default": lambda x: (x["rloo"] - x["default rloo"]) / x["even rloo"],
    }
    for name in ESTIMATORS:
        formulas[f"variance_left_{name}"] = partial(_left, name, "")
        formulas[f"share_{name}"] = partial(_share, name)
    return formulas


def _left(estimator: str, prefix: str, x: Sums) -> Tensor:
    return x[prefix + estimator] / x[f"{prefix}even {estimator}"]


def _share(estimator: str, x: Sums) -> Tensor:
    return (1 - _left(estimator, "", x)) / (1 - _left(estimator, "best ", x))


FORMULAS = _formulas()
