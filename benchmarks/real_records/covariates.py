"""What another model's success rate tells about prompts that were not sampled yet.

The covariate of the recorded run is the success rate of Qwen2.5-Math-7B in 128 rollouts, which 921 of its 1,209 prompts
have (see `record.py`). The run is replayed for three epochs, with these prompts alone and with all of them. Columns of
noise show what a useless covariate costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.real_records.record import BATCH, Placement, RecordedRun, place, read_rates, read_run
from benchmarks.real_records.replay import DEFAULT, hindsight, replay
from benchmarks.real_records.scores import ScoredVisits, judge, score
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.covariates import PoolCovariates, Value
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.registry import build_predictor

NOISE = 8
#: Epochs that are replayed.
EPOCHS = 3
#: The values of each column for every prompt of a pool.
Columns = Mapping[str, Sequence[Value]]


def measure(folder: Path, embedder: PromptEmbedder, placements: int) -> dict[str, Any]:
    """Return the scores of `drifting_gp` with each set of covariates.

    Args:
        folder: Holds the files that `record.py` names.
        embedder: Embeds the prompts.
        placements: Placements of the run's visits.
    """
    whole = read_run(folder, embedder)
    rate_of = dict(zip(*(list(part) for part in read_rates(folder)), strict=True))
    known = [float(rate_of[text]) if text in rate_of else None for text in whole.texts]
    rows = [row for row, rate in enumerate(known) if rate is not None]
    rated = RecordedRun(whole.prompts.select(rows), tuple(whole.successes[row] for row in rows))
    known_here = {"rate": [known[row] for row in rows]}
    noise = _noise(len(rows))
    sets = {"rate": known_here, "noise": noise, "rate, noise": known_here | noise}
    return {
        "noise": NOISE,
        "placements": placements,
        "rated": over_first_epochs(rated, sets, placements),
        "whole": over_first_epochs(whole, {"rate": {"rate": known}}, placements),
    }


def over_first_epochs(
    record: RecordedRun, arms: Mapping[str, Columns], number: int, batch: int = BATCH
) -> dict[str, Any]:
    """Return the scores over the first epochs, without covariates and with each set of them, by epoch.

    Args:
        record: The run, or a part of its pool.
        arms: Sets of covariates by name, with the value of each prompt.
        number: Placements.
        batch: Prompts of a step.
    """
    size = len(record.prompts)
    arms = {DEFAULT: {}, **arms}
    visits: dict[str, list[ScoredVisits]] = {name: [] for name in arms}
    best = []
    steps = round(sum(map(len, record.successes)) / batch)
    epoch = size / batch
    for seed in range(1, number + 1):
        found = _first(place(record, seed, batch=batch, steps=steps), round(EPOCHS * epoch))
        for name, columns in arms.items():
            described = replace(record, prompts=described_by(record.prompts, columns))
            visits[name].append(score(replay(build_predictor(DEFAULT), described, found), found))
        best.append(score(hindsight(record, found), found))
    ends = [round(epoch * number) for number in range(EPOCHS + 1)]
    eras = {str(number + 1): (ends[number] + 1, ends[number + 1]) for number in range(EPOCHS)}
    eras["1, after its first step"] = (2, ends[1])
    return {
        "prompts": size,
        "steps": {title: list(era) for title, era in eras.items()},
        "eras": {title: judge(visits, best, era, size) for title, era in eras.items()},
    }


def _first(placement: Placement, steps: int) -> Placement:
    return Placement(placement.prompt[:steps], placement.visit[:steps], placement.successes[:steps])


def described_by(prompts: Prompts, columns: Columns) -> Prompts:
    """Return the prompts with columns as covariates, encoded as in a run."""
    if not columns:
        return prompts
    encode = PoolCovariates.fit(columns, prompts.ids)
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return replace(prompts, covariates=encode(prompts.ids, rows))


def _noise(size: int) -> Columns:
    drawn = torch.randn(NOISE, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {f"noise {number}": column.tolist() for number, column in enumerate(drawn)}
