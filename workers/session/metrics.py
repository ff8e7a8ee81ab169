"""The `vip/*` metrics of a training step, which verl's tracker logs with its own metrics."""

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

    A name contains "max", "min", "mean", "sum" or "total" only if verl should combine several values of a step that
    way; verl decides by the name.

    Args:
        record: The step's record.
        predictor: The run's predictor.
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
    """Return the mean requested count and the share of prompts for each band of predicted success probability."""
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
    """Return the size of all tensors reachable from an object, in bytes; each storage counts once.

    An object with an integer attribute `tensor_bytes` is not searched, since it may have an entry for every prompt.
    """
    storages: dict[int, int] = {}
    reported = 0
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
            reported += own
        else:
            waiting.extend(_parts(value))
    return reported + sum(storages.values())


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        parts: Collection[Any] = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = value
    else:
        parts = getattr(value, "__dict__", {}).values()
    # If every part is a plain value, none needs a visit.
    return () if set(map(type, parts)) <= _PLAIN else parts


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
