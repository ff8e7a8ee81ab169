"""What each predictor, and hindsight, would have predicted at every step of a recorded run."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks.real_records.record import ROLLOUTS, Placement, RecordedRun
from verl_vip.prediction.contract import Prediction, Predictor
from verl_vip.prediction.registry import PREDICTORS, build_predictor

DEFAULT = "drifting_gp"
#: Visits on either side of a visit that hindsight averages.
WINDOW = 8


def constructors() -> Mapping[str, Callable[[], Predictor]]:
    """Return what makes each predictor of the registry with its defaults, the default first, without the oracle."""
    names = [DEFAULT, *sorted(PREDICTORS.keys() - {DEFAULT, "oracle"})]
    return {name: partial(build_predictor, name) for name in names}


def replay(predictor: Predictor, record: RecordedRun, placement: Placement) -> list[Prediction]:
    """Return a prediction for each step; each step is predicted and then observed, as in training."""
    predictions = []
    trials = torch.full((placement.prompt.shape[1],), ROLLOUTS)
    for rows, successes in zip(placement.prompt, placement.successes, strict=True):
        prompts = record.prompts.select(rows)
        predictions.append(predictor.predict(prompts))
        predictor.observe(prompts, successes, trials)
    return predictions


def hindsight(record: RecordedRun, placement: Placement, window: int = WINDOW) -> list[Prediction]:
    """Return predictions from the visits before and after each visit, without the visit itself.

    The mean and variance are those of a Beta distribution, `Beta(k + 1/2, n - k + 1/2)` for k successes in the n
    rollouts of up to `window` visits on either side. No predictor knows the later ones. It is not the truth: a change
    within the window is averaged out, and the counts are noisy.
    """
    width = max(len(visits) for visits in record.successes)
    sums = torch.zeros(len(record.successes), width + 1, dtype=torch.float64)
    lengths = torch.tensor([len(visits) for visits in record.successes])
    for row, visits in enumerate(record.successes):
        sums[row, 1 : len(visits) + 1] = visits.cumsum(0)
    first = (placement.visit - window).clamp_min(0)
    last = torch.minimum(placement.visit + window + 1, lengths[placement.prompt])
    around = sums[placement.prompt, last] - sums[placement.prompt, first] - placement.successes
    trials = ROLLOUTS * (last - first - 1).double()
    return [_beta(k, n) for k, n in zip(around, trials, strict=True)]


def _beta(successes: Tensor, trials: Tensor) -> Prediction:
    mean = (successes + 0.5) / (trials + 1)
    return Prediction(mean, mean * (1 - mean) / (trials + 2))
