"""The step's metrics."""

import gc
import math
from types import FunctionType, ModuleType

import pytest
import torch

from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.registry import PREDICTORS, build_predictor
from verl_vip.prediction.table import PromptTable
from verl_vip.records.records import StepRecord
from verl_vip.workers.session.metrics import step_metrics, tensor_bytes


def record(**changes):
    values = {
        "step": 1,
        "wall_time": 0.0,
        "strategy": "vip",
        "budget": 16,
        "ids": ["a", "b", "b", "d"],
        "labels": [""] * 4,
        "requested": [2, 6, 6, 2],
        "observed": [2, 6, 0, 2],
        "predicted": [0.1, 0.5, 0.5, 1.0],
        "predicted_variance": [0.0] * 4,
        "successes": [0.0, 3.0, 0.0, 2.0],
        "rollouts_total": 10,
        "seconds": {"predict": 0.5},
        "tokens": [10, 20, 0, 30],
    }
    return StepRecord(**{**values, **changes})


@pytest.fixture
def predictor():
    return build_predictor("last_seen")


def test_metrics_of_a_step_worked_by_hand(predictor):
    found = step_metrics(record(), predictor)
    expected = {
        "vip/budget": 16,
        "vip/rollouts/observed": 10,
        "vip/rollouts/kept": 10,
        "vip/rounds": 1,
        "vip/rollouts/missing": 6,
        "vip/rollouts/cumulative": 10,
        "vip/tokens": 60,
        "vip/count/min": 2,
        "vip/count/max": 6,
        "vip/prompts/repeated": 1,
        "vip/groups/without_rollouts": 0.25,
        "vip/groups/without_signal": 2 / 3,
        "vip/prompts/p_0.0_0.2": 0.25,
        "vip/prompts/p_0.2_0.4": 0.0,
        "vip/prompts/p_0.4_0.6": 0.5,
        "vip/prompts/p_0.6_0.8": 0.0,
        "vip/prompts/p_0.8_1.0": 0.25,
        "vip/count/p_0.0_0.2": 2,
        "vip/count/p_0.4_0.6": 6,
        "vip/count/p_0.8_1.0": 2,
        # One prompt in three each: rates 0, 1/2 and 1 against .1, .5 and 1.
        "vip/predictor/brier": (0.01 + 0.25 + 0.0) / 3,
        "vip/predictor/log_loss": -(math.log(0.9) + math.log(0.5) + math.log(1 - 1e-6)) / 3,
        "vip/predictor/ece": 0.1 / 3,
        "vip/predictor/known_prompts": 0,
        "vip/seconds/predict": 0.5,
        "vip/memory/predictor_mb": 0,
    }
    assert found.pop("vip/memory/process_mb") > 10
    assert found == pytest.approx(expected)


def test_a_step_without_any_outcome_has_metrics_too(predictor):
    found = step_metrics(record(observed=[0] * 4, successes=[0.0] * 4, tokens=None), predictor)
    assert found["vip/groups/without_rollouts"] == 1
    assert "vip/groups/without_signal" not in found
    assert "vip/predictor/brier" not in found
    assert all(math.isfinite(value) for value in found.values())


def test_full_houses_of_fractions_carry_no_signal(predictor):
    found = step_metrics(record(observed=[3, 3, 3, 3], successes=[3 - 1e-9, 1e-9, 1.5, 3 + 1e-9]), predictor)
    assert found["vip/groups/without_signal"] == 0.75


def test_groups_whose_rewards_are_alike_carry_no_signal_whatever_they_are(predictor):
    alike = record(
        observed=[10] * 4, requested=[10] * 4, successes=[1.0, 1.0, 5.0, 5.0], varied=[False, True, True, False]
    )
    assert step_metrics(alike, predictor)["vip/groups/without_signal"] == 0.5


def reachable_tensor_bytes(owner):
    """By a walk over everything that the object refers to."""
    storages, waiting, visited = {}, [owner], set()
    while waiting:
        value = waiting.pop()
        if id(value) in visited or isinstance(value, (type, ModuleType, FunctionType)):
            continue
        visited.add(id(value))
        if isinstance(value, torch.Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        else:
            waiting.extend(gc.get_referents(value))
    return sum(storages.values())


@pytest.mark.parametrize("name", sorted(PREDICTORS))
def test_a_predictors_memory_is_counted_exactly(name):
    predictor = build_predictor(name)
    if name == "oracle":
        predictor.tell([f"{row}" for row in range(200)], torch.full((200,), 0.5))
    for step in range(3):
        ids = tuple(f"{row}" for row in range(40 * step, 40 * step + 60))
        points = torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(step)), dim=1)
        prompts = Prompts(ids, points)
        predictor.predict(prompts)
        trials = torch.full((60,), 8)
        predictor.observe(prompts, torch.arange(60).double() % 9, trials)
        assert tensor_bytes(predictor) == reachable_tensor_bytes(predictor)


def test_what_counts_its_own_tensors_is_not_looked_into():
    class Index(dict):
        def values(self):
            raise AssertionError("an entry for each of a million prompts")

    table = PromptTable({"a": 0.0, "b": 0.0})
    table.ensure([f"{row}" for row in range(1000)])
    table._rows = Index(table._rows)
    assert tensor_bytes({"table": table, "again": [table]}) == table.tensor_bytes >= 1000 * 2 * 8


def test_tensors_are_counted_once_wherever_they_are_kept():
    class Owner:
        def __init__(self):
            self.rows = torch.zeros(4, 8, dtype=torch.float64)
            self.view = self.rows[1:]
            self.nested = {"a": [torch.zeros(16, dtype=torch.uint8)], "me": self, "name": "x" * 100}

    assert tensor_bytes(Owner()) == 4 * 8 * 8 + 16
