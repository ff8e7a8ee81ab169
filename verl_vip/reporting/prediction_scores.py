"""The quality of a run's predictions, compared with two simple predictors."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verl_vip.prediction.baselines.last_seen import LastSeen
from verl_vip.prediction.contract import Prompts
from verl_vip.records.records import RunRecords
from verl_vip.statistics.calibration import brier, ece, log_loss, spearman


@dataclass(frozen=True)
class PredictionScores:
    """The measures of `verl_vip.statistics.calibration` for one predictor over all steps of a run."""

    name: str
    brier: float
    log_loss: float
    ece: float
    spearman: float


def score_predictions(run: RunRecords) -> list[PredictionScores]:
    """Score the predictions of the run, the base rate and the last observation, in this order.

    Each prediction uses only earlier steps. The base rate is the mean success rate of all earlier prompt groups, or one
    half before the first. The last observation is the prompt's success rate at its previous visit, or the previous
    step's mean for a new prompt.

    Args:
        run: A run with at least one rollout.

    Raises:
        InvalidInputError: If no prompt has a rollout.
    """
    mean, successes, trials = scored_rows(run)
    forecasts = {"this run": mean, "base rate": _base_rate(run), "last observation": _last_observation(run)}
    return [
        PredictionScores(
            name,
            brier(values, successes, trials),
            log_loss(values, successes, trials),
            ece(values, successes, trials),
            spearman(values, successes, trials),
        )
        for name, values in forecasts.items()
    ]


def scored_rows(run: RunRecords) -> tuple[Tensor, Tensor, Tensor]:
    """Return the predictions, successes and trials of all prompts of all steps, three `N` tensors."""
    rows = run.prompts
    # Sums of rewards may exceed the count by a rounding error, which the calibration measures refuse.
    successes = np.clip(rows.successes, 0, rows.observed)
    return torch.from_numpy(rows.predicted), torch.from_numpy(successes), torch.from_numpy(rows.observed)


def _base_rate(run: RunRecords) -> Tensor:
    values, total, groups = [], 0.0, 0
    for record in run.steps:
        values.append(torch.full((len(record.ids),), total / groups if groups else 0.5, dtype=torch.float64))
        sampled = [(won, count) for won, count in zip(record.successes, record.observed, strict=True) if count]
        total += sum(min(max(won / count, 0.0), 1.0) for won, count in sampled)
        groups += len(sampled)
    return torch.cat(values)


def _last_observation(run: RunRecords) -> Tensor:
    predictor, values = LastSeen(), []
    for record in run.steps:
        prompts = Prompts(tuple(record.ids), torch.zeros(len(record.ids), 1))
        values.append(predictor.predict(prompts).mean.double())
        trials = torch.tensor(record.observed)
        successes = torch.tensor(record.successes, dtype=torch.float64)
        predictor.observe(prompts, torch.minimum(successes.clamp_min(0), trials), trials)
    return torch.cat(values)
