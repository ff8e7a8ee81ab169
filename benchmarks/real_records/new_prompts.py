"""One epoch over prompts that are all new: what their text alone tells a predictor.

4,000 prompts of the second record (see `record.py`) are served once each, in steps of 250, with 8 rollouts drawn from
the success rate of 128 rollouts. The policy does not change. That rate, as a prediction, takes the place of hindsight.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.real_records.covariates import Columns, described_by
from benchmarks.real_records.record import RATED, ROLLOUTS, Placement, RecordedRun, read_rates
from benchmarks.real_records.replay import DEFAULT, constructors, replay
from benchmarks.real_records.scores import judge, score
from verl_vip.prediction.contract import Prediction, Predictor, Prompts
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import prompt_id
from verl_vip.statistics.calibration import spearman

PROMPTS, BATCH = 4000, 250
#: The default with two covariates that every text has: its length, and its number of digits.
WITH_STATISTICS = "drifting_gp, text statistics"


def measure(folder: Path, embedder: PromptEmbedder, seeds: int, size: int = PROMPTS, batch: int = BATCH) -> Any:
    """Return every predictor's scores over the epoch and over its last quarter.

    Args:
        folder: Holds `deepscaler_counts.parquet`.
        embedder: Embeds the prompts.
        seeds: Repetitions, each with an order of the prompts and rollouts of its own.
        size: Prompts, drawn from the record.
        batch: Prompts of a step; whole steps only.
    """
    prompts, texts, rates = read_prompts(folder, embedder, size)
    arms = {name: (build, prompts) for name, build in constructors().items()}
    arms[WITH_STATISTICS] = (constructors()[DEFAULT], described_by(prompts, _statistics(texts)))
    return {"prompts": len(rates), "batch": batch, "seeds": seeds, **one_epoch(arms, rates, seeds, batch)}


def read_prompts(folder: Path, embedder: PromptEmbedder, size: int = PROMPTS) -> tuple[Prompts, list[str], Tensor]:
    """Return prompts drawn from the record, their texts, and their success rates, a float64 tensor."""
    texts, rates = read_rates(folder)
    chosen = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))[:size]
    texts, rates = [texts[row] for row in chosen.tolist()], rates[chosen]
    ids = [prompt_id(text) for text in texts]
    return Prompts(tuple(ids), embedder.embed(ids, texts)), texts, rates


def one_epoch(
    arms: Mapping[str, tuple[Callable[[], Predictor], Prompts]], rates: Tensor, seeds: int, batch: int = BATCH
) -> dict[str, Any]:
    """Return the scores of each predictor, and the rank correlation of its predictions with the rates.

    Args:
        arms: What makes each predictor, and the prompts as it sees them, with or without covariates.
        rates: Their success rates.
        seeds: As for `measure`.
        batch: As for `measure`.
    """
    visits: dict[str, list[Any]] = {name: [] for name in arms}
    truth = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(rates), generator=generator)
        drawn = torch.rand(len(rates), ROLLOUTS, generator=generator, dtype=torch.float64) < rates[:, None]
        rows = order[: len(order) // batch * batch].reshape(-1, batch)
        placement = Placement(rows, torch.zeros_like(rows), drawn.sum(1).double()[rows])
        for name, (build, prompts) in arms.items():
            record = RecordedRun(prompts, tuple(drawn.sum(1)[:, None]))
            visits[name].append(score(replay(build(), record, placement), placement))
        known = [Prediction(rates[step], rates[step] * (1 - rates[step]) / (RATED + 1)) for step in rows]
        truth.append(score(known, placement))
    steps = len(rows)
    eras = {"all": (1, steps), "last quarter": (steps - steps // 4 + 1, steps)}
    return {
        "rank_correlation_with_the_rate": _correlations(visits, rates),
        "eras": {title: judge(visits, truth, era, len(rates)) for title, era in eras.items()},
    }


def _statistics(texts: Sequence[str]) -> Columns:
    return {
        "length": [float(len(text)) for text in texts],
        "digits": [float(sum(map(str.isdigit, text))) for text in texts],
    }


def _correlations(visits: Mapping[str, list[Any]], rates: torch.Tensor) -> dict[str, float]:
    """Return the mean rank correlation of predictions after the first step with the rates of `RATED` rollouts."""
    found = {}
    for name, seeds in visits.items():
        each = []
        for one in seeds:
            target = rates[one.placement.prompt[1:].flatten()] * RATED
            each.append(spearman(one.mean[1:].flatten(), target, torch.full_like(target, RATED)))
        value = sum(each) / len(each)
        if not math.isnan(value):  # a predictor that is the same for all prompts has none
            found[name] = round(value, 5)
    return found
