"""The forecast from the first two visits of every prompt, compared with the rest of the run.

- `forecast`: what `verl-vip forecast` says of the first two visits, 16 rollouts of each prompt.
- `teaches`: the share of prompts that can teach, estimated from the 64 rollouts of visits 3 to 10.
- `previous two`: RLOO's variance left and the signal of the best quarter, when each prompt is predicted from its two
  previous visits alone, `Beta(1/2 + k, 1/2 + 16 - k)`; over visits 3 to 10, and over all after the second. Batches are
  random prompts at the same visit. Scores are those of `scores.py`, intervals are over prompts.
- `few of many`: on the second record, forecasts of the share that can teach from 2 and 8 of the 128 rollouts of each
  prompt, beside the share that all 128 show.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.real_records.record import BATCH, RATED, ROLLOUTS, Placement, RecordedRun, read_rates
from benchmarks.real_records.scores import Sums, estimate, score, sums_by_prompt
from verl_vip.forecast.advice import advise
from verl_vip.forecast.forecast import Forecast, make_forecast
from verl_vip.forecast.pool import TEACHES
from verl_vip.prediction.contract import Prediction
from verl_vip.records.outcomes import KeyKind, OutcomeBuilder, OutcomeSource, SourceKind
from verl_vip.statistics.intervals import Estimate
from verl_vip.statistics.success_distribution import fit_success_distribution

#: The visits that the forecast sees, and the last of those that come soon after.
SEEN, SOON = 2, 10
FEW = (2, 8)


def measure(record: RecordedRun, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return the forecast and what came of it.

    Args:
        record: The run.
        folder: Holds the second record.
        seed: Seed of batches and of the choice of rollouts.
    """
    forecast = make_forecast(first_visits(record, SEEN))
    later = [visits[SEEN:SOON] for visits in record.successes]
    sums = np.array([float(visits.sum()) for visits in later])
    trials = np.array([ROLLOUTS * len(visits) for visits in later])
    generator = torch.Generator().manual_seed(seed)
    ends = {"soon": SOON, "rest": max(map(len, record.successes))}
    return {
        "forecast": _described(forecast),
        "teaches": _plain(fit_success_distribution(sums, trials).share(*TEACHES)),
        "previous_two": {name: _previous_two(record, end, generator) for name, end in ends.items()},
        "few_of_many": _few_of_many(folder, seed),
    }


def first_visits(record: RecordedRun, visits: int) -> OutcomeSource:
    """Return the first visits of every prompt as a record of outcomes, the number of the visit as its step."""
    builder = OutcomeBuilder(KeyKind.PROMPT_ID)
    for key, successes in zip(record.prompts.ids, record.successes, strict=True):
        for visit, won in enumerate(successes[:visits].tolist(), start=1):
            builder.add(key, visit, won, ROLLOUTS, 0 < won < ROLLOUTS)
    return builder.source(Path("the run's first visits"), SourceKind.DUMPS, ())


def _described(forecast: Forecast) -> dict[str, Any]:
    return {
        "verdict": advise(forecast).verdict.name,
        "without_signal": round(forecast.wrong + forecast.right + forecast.alike, 5),
        "teaches": _plain(forecast.teaches),
        "gains": [
            {
                "visits": gain.visits,
                "variance_left": _plain(gain.variance_left),
                "top_signal": _plain(gain.top_signal),
            }
            for gain in forecast.gains
        ],
    }


def _plain(found: Estimate) -> dict[str, Any]:
    return {"value": round(found.value, 5), "interval": [round(limit, 5) for limit in found.limits]}


def _previous_two(record: RecordedRun, end: int, generator: torch.Generator) -> dict[str, Any]:
    """Score predictions of visits `SEEN + 1` to `end` that know the two visits before each."""
    rows, visits = [], []
    for visit in range(SEEN, end):
        there = torch.tensor([row for row, won in enumerate(record.successes) if len(won) > visit], dtype=torch.int64)
        order = there[torch.randperm(len(there), generator=generator)]
        whole = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
        rows.append(whole)
        visits.append(torch.full_like(whole, visit))
    prompt, visit = torch.cat(rows), torch.cat(visits)
    before = [_won(record, prompt, visit - back) for back in range(1, SEEN + 1)]
    placement = Placement(prompt, visit, _won(record, prompt, visit))
    scored = score([_beta(won) for won in torch.stack(before).sum(0)], placement)
    era = 1, len(prompt)
    sums = {
        name: sums_by_prompt(values, placement, era, len(record.prompts))[None]
        for name, values in scored.scored.items()
    }
    return {
        "variance_left": estimate(sums, lambda x: x["rloo"] / x["even rloo"]),
        "top_signal": estimate(sums, _top_signal),
    }


def _top_signal(x: Sums) -> torch.Tensor:
    return x["top signal"] / x["top"] / (x["signal"] / x["visits"])


def _won(record: RecordedRun, prompt: torch.Tensor, visit: torch.Tensor) -> torch.Tensor:
    pairs: Sequence[tuple[int, int]] = list(zip(prompt.flatten().tolist(), visit.flatten().tolist(), strict=True))
    won = [int(record.successes[row][number]) for row, number in pairs]
    return torch.tensor(won, dtype=torch.float64).reshape(prompt.shape)


def _beta(successes: torch.Tensor) -> Prediction:
    total = SEEN * ROLLOUTS + 1
    mean = (successes + 0.5) / total
    return Prediction(mean, mean * (1 - mean) / (total + 1))


def _few_of_many(folder: Path, seed: int) -> dict[str, Any]:
    _, rates = read_rates(folder)
    won = np.round(rates.numpy() * RATED)
    generator = np.random.default_rng(seed)

    def share(successes: Any, trials: int) -> dict[str, Any]:
        found = fit_success_distribution(successes, np.full(len(won), trials))
        return _plain(found.share(*TEACHES))

    drawn = {few: generator.hypergeometric(won.astype(np.int64), RATED - won.astype(np.int64), few) for few in FEW}
    return {
        "prompts": len(won),
        "all": share(won, RATED),
        **{str(few): share(counts.astype(np.float64), few) for few, counts in drawn.items()},
    }
