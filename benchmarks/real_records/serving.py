"""What strategies that choose prompts by their prediction would serve from the batches of a recorded run.

The candidates of a step are the 128 prompts of the recorded batch, because only their outcomes are known. A strategy
serves as large a part of them as its pool ratio implies, with 8 rollouts each. The predictors have observed all visits
of the record. In a run that a strategy selects for, they would know the prompts that it does not serve less well.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.real_records.record import ROLLOUTS, Placement, RecordedRun
from benchmarks.real_records.scores import ERAS, LOWER, UPPER, estimate, sums_by_prompt, unbiased_variance
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.registry import build_strategy
from verl_vip.strategies.step import Step

#: Strategies that do not use the prediction, and those that do, with settings.
WITHOUT: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "uniform": ("uniform", {}),
    "balanced_clusters": ("balanced_clusters", {"group_size": ROLLOUTS}),
}
WITH: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "prioritized": ("prioritized", {"group_size": ROLLOUTS}),
    "prioritized, exponent 4": ("prioritized", {"group_size": ROLLOUTS, "exponent": 4.0}),
    "mopps": ("mopps", {"group_size": ROLLOUTS}),
}


def serve(
    strategy: tuple[str, Mapping[str, Any]],
    predictions: Sequence[Prediction],
    record: RecordedRun,
    placement: Placement,
) -> Tensor:
    """Return how many rollouts each candidate gets, an `S x B` float64 tensor."""
    name, settings = strategy
    chooser = build_strategy(name, "rloo", **settings)
    served = max(1, int(placement.prompt.shape[1] // chooser.pool_ratio))
    budget = Budget(total=ROLLOUTS * served, lower=LOWER, upper=UPPER)
    steps = []
    for rows, prediction in zip(placement.prompt, predictions, strict=True):
        step = Step(chooser, record.prompts.select(rows), prediction, budget, name=name)
        steps.append(step.requested)
    return torch.stack(steps).double()


def judge_served(served: Sequence[Tensor], placements: Sequence[Placement], num_prompts: int) -> dict[str, Any]:
    """Return the signal relative to the average and the share of mixed groups among what is served, by era.

    Args:
        served: Rollouts of each candidate, an `S x B` tensor for each placement.
        placements: The placements.
        num_prompts: The prompts of the pool.
    """
    result = {}
    for title, era in ERAS.items():
        columns: dict[str, list[Tensor]] = {"served": [], "signal": [], "mixed": [], "all": [], "all signal": []}
        for counts, placement in zip(served, placements, strict=True):
            k = placement.successes
            signal, mixed = unbiased_variance(k), ((k > 0) & (k < ROLLOUTS)).double()
            values = (counts, counts * signal, counts * mixed, torch.ones_like(k), signal)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(sums_by_prompt(value, placement, era, num_prompts))
        sums = {name: torch.stack(column) for name, column in columns.items()}
        result[title] = {
            "signal": estimate(sums, lambda x: x["signal"] / x["served"] / (x["all signal"] / x["all"])),
            "mixed": estimate(sums, lambda x: x["mixed"] / x["served"]),
        }
    return result
