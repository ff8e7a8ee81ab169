"""The `vip/*` metrics of a training step, which verl's tracker logs beside its own."""

import itertools
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verl_vip.prediction.contract import Predictor
from verl_vip.records.records import StepRecord
from verl_vip.records.step_statistics import BANDS, bands_of, without_signal
from verl_vip.statistics.calibration import brier, ece, log_loss

_MEGABYTE = 2**20
_PLAIN = {str, bytes, int, float, bool, type(None)}


def step_metrics(record: StepRecord, predictor: Predictor) -> dict[str, float]:
    """Return the metrics of one step.

    Names contain no "max", "min", "mean", "sum" or "total" but where that is how verl should combine several
    values of one step; it goes by the name.

    Args:
        record: What the step did.
        predictor: The predictor that made and learned from it.
    """
    observed = np.array(record.observed)
    sampled = observed > 0
    metrics = {
        "vip/budget": float(record.budget),
        "vip/rollouts/observed": float(observed.sum()),
        "vip/rollouts/kept": float(sum(record.trained)),
        "vip/rounds": float(record.rounds),
        "vip/rollouts/missing": float(np.clip(np.array(record.requested) - observed, 0, None).sum()),
        "vip/rollouts/cumulative": float(record.rollouts_total),
        "vip/tokens": float(sum(record.tokens or [])),
        "vip/count/min": float(min(record.requested)),
        "vip/count/max": float(max(record.requested)),
        "vip/prompts/repeated": float(len(record.ids) - len(set(record.ids))),
        "vip/groups/without_rollouts": float((~sampled).mean()),
    }
    if sampled.any():
        metrics["vip/groups/without_signal"] = sum(without_signal(record))
    metrics |= _counts_by_prediction(record) | _calibration(record)
    metrics |= {f"vip/predictor/{name}": value for name, value in predictor.metrics().items()}
    metrics |= {f"vip/seconds/{name}": value for name, value in record.seconds.items()}
    return {
        **metrics,
        "vip/memory/predictor_mb": tensor_bytes(predictor) / _MEGABYTE,
        "vip/memory/process_mb": _resident_bytes() / _MEGABYTE,
    }


def _counts_by_prediction(record: StepRecord) -> dict[str, float]:
    """Mean requested count, and share of prompts, by fifth of the predicted success probability."""
    band = bands_of(np.array(record.predicted))
    requested = np.array(record.requested)
    found = {}
    for position, (low, high) in enumerate(itertools.pairwise(BANDS)):
        inside = band == position
        name = f"p_{low:.1f}_{high:.1f}"
        found[f"vip/prompts/{name}"] = float(inside.mean())
        if inside.any():
            found[f"vip/count/{name}"] = float(requested[inside].mean())
    return found


def _calibration(record: StepRecord) -> dict[str, float]:
    if not any(record.observed):
        return {}
    trials = torch.tensor(record.observed)
    won = torch.tensor(record.successes, dtype=torch.float64).clamp_min(0).minimum(trials)
    predicted = torch.tensor(record.predicted, dtype=torch.float64)
    return {
        "vip/predictor/brier": brier(predicted, won, trials),
        "vip/predictor/log_loss": log_loss(predicted, won, trials),
        "vip/predictor/ece": ece(predicted, won, trials),
    }


def tensor_bytes(owner: Any) -> int:
    """Return how many bytes the tensors hold that an object keeps, each storage once.

    What has a number `tensor_bytes` is taken at its word and not looked into: it has an entry for every prompt.
    """
    storages: dict[int, int] = {}
    told = 0
    visited: set[int] = set()
    waiting = [owner]
    while waiting:
        value = waiting.pop()
        if id(value) in visited or isinstance(value, type) or type(value) in _PLAIN:
            continue
        visited.add(id(value))
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(own := getattr(value, "tensor_bytes", None), int):
            told += own
        else:
            waiting.extend(_parts(value))
    return told + sum(storages.values())


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        parts: Collection[Any] = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = value
    else:
        parts = getattr(value, "__dict__", {}).values()
    # Where nothing has parts of its own, no entry needs a visit.
    return () if set(map(type, parts)) <= _PLAIN else parts


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
