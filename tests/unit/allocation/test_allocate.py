import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import verl_vip
from verl_vip.allocation import Objective, PredictedBaseline, Rloo, allocate, relaxed
from verl_vip.errors import InfeasibleBudgetError, InvalidInputError
from verl_vip.prediction.contract import Prediction

P = [0.01, 0.1, 0.2, 0.4, 0.5, 0.8, 0.95, 0.99]


@pytest.mark.parametrize("method", ["exact", "paper"])
@pytest.mark.parametrize(
    ("objective", "counts", "value"),
    [
        ("rloo", [4, 7, 10, 11, 12, 10, 6, 4], 0.113382828),
        ("dr_grpo", [4, 7, 10, 12, 12, 10, 5, 4], 0.0885634637),
    ],
)
def test_golden_values(method, objective, counts, value):
    result = allocate(P, 64, lower=4, upper=12, objective=objective, method=method)
    assert result.dtype == torch.int64
    assert result.tolist() == counts
    p, n = np.array(P), np.array(counts)
    shape = 1 / (n - 1) if objective == "rloo" else (n - 1) / n**2
    assert (p * (1 - p) * shape).sum() == pytest.approx(value, rel=1e-8)


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda p: torch.tensor(p, dtype=torch.float64, requires_grad=True),
        lambda p: np.array(p, dtype=np.float32),
    ],
)
def test_takes_lists_arrays_and_tensors(make):
    assert allocate(make(P), 64, lower=4, upper=12).tolist() == [4, 7, 10, 11, 12, 10, 6, 4]


def test_takes_half_precision_and_integers_of_any_kind():
    p = torch.tensor([0.25, 0.5, 0.75], dtype=torch.bfloat16)
    counts = allocate(p, torch.tensor(25), lower=np.int64(3), upper=16)
    assert counts.tolist() == [8, 9, 8]


def test_weight_replaces_the_point_estimate():
    prediction = Prediction(mean=torch.tensor([0.5, 0.5, 0.5]), variance=torch.tensor([0.0, 0.15, 0.25]))
    counts = allocate(prediction.mean, 30, lower=3, upper=24, weight=prediction.reward_variance)
    assert counts.tolist() == [16, 11, 3]
    assert allocate(None, 30, lower=3, upper=24, weight=[0.25, 0.1, 0.0]).tolist() == [16, 11, 3]


def test_takes_an_objective_object():
    p = np.array([0.1, 0.5, 0.9])
    counts = allocate(p, 5, lower=1, upper=8, objective=PredictedBaseline(p * (1 - p), strength=6.0))
    assert counts.tolist() == [2, 2, 1]


@pytest.mark.parametrize("method", ["exact", "paper"])
def test_ties_go_to_the_lowest_index(method):
    assert allocate([0.5] * 5, 22, lower=3, upper=9, method=method).tolist() == [5, 5, 4, 4, 4]
    # 1 - 0.8 is not the double 0.2, and yet the two tie.
    assert allocate([0.8, 0.2], 11, lower=3, upper=9, method=method).tolist() == [6, 5]
    assert allocate([0.2, 0.8], 11, lower=3, upper=9, method=method).tolist() == [6, 5]


@pytest.mark.parametrize("method", ["exact", "paper"])
@pytest.mark.parametrize("objective", ["rloo", "dr_grpo"])
def test_prompts_without_variance_come_last_and_share_evenly(objective, method):
    def run(p, budget):
        return allocate(p, budget, lower=3, upper=8, objective=objective, method=method).tolist()

    assert run([0.0, 1e-9, 1.0, 0.5], 22) == [3, 8, 3, 8]
    assert run([0.0, 1e-9, 1.0, 0.5], 25) == [5, 8, 4, 8]
    assert run([0.0, 1.0, 1.0], 13) == [5, 4, 4]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.data())
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("objective", ["rloo", "dr_grpo"])
def test_larger_weights_never_get_fewer(objective, weight, data):
    budget = data.draw(st.integers(3 * len(weight), 20 * len(weight)))
    counts = allocate(None, budget, lower=3, upper=20, weight=weight, objective=objective)
    assert counts.sum() == budget
    order = np.argsort(weight, kind="stable")
    steps = np.diff(counts.numpy()[order])
    distinct = np.diff(np.array(weight)[order]) > 1e-9
    assert (steps[distinct] >= 0).all()


@pytest.mark.parametrize("objective", ["rloo", "dr_grpo"])
def test_success_and_failure_are_symmetric(objective):
    p = np.random.default_rng(5).beta(0.5, 0.9, 500)
    one, other = (allocate(q, 4000, lower=3, upper=64, objective=objective) for q in (p, 1 - p))
    assert torch.equal(one, other)


def test_exact_is_never_worse_than_paper_or_uniform():
    rng = np.random.default_rng(11)
    for _ in range(50):
        p = rng.beta(0.05, 0.5, 64).clip(1e-6)
        target = Rloo(p * (1 - p))
        exact, paper = (allocate(p, 512, lower=3, upper=64, method=m).numpy() for m in ("exact", "paper"))
        floor = target.value(relaxed(p, 512, lower=3, upper=64).rollouts.numpy()).sum()
        best = target.value(exact).sum()
        assert floor * (1 - 1e-12) <= best <= target.value(paper).sum() * (1 + 1e-12)
        assert best <= target.value(np.full(64, 8)).sum() * (1 + 1e-12)


GOOD = {"success_probability": [0.2, 0.5], "budget": 10, "lower": 3, "upper": 8}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"success_probability": [0.2, float("nan")]}, InvalidInputError, "finite; prompt 1 has nan"),
        ({"success_probability": [1.5, 0.2]}, InvalidInputError, "between 0 and 1; prompt 0 has 1.5"),
        ({"success_probability": [0.2, -0.1]}, InvalidInputError, "between 0 and 1; prompt 1"),
        ({"success_probability": []}, InvalidInputError, "give at least one"),
        ({"success_probability": [[0.2, 0.5]]}, InvalidInputError, r"got shape \(1, 2\)"),
        ({"success_probability": ["easy", "hard"]}, InvalidInputError, "list of real numbers"),
        ({"success_probability": 0.5}, InvalidInputError, "one dimension"),
        ({"success_probability": None}, InvalidInputError, "give success_probability or weight"),
        ({"budget": 10.0}, InvalidInputError, "budget must be an integer"),
        ({"budget": True}, InvalidInputError, "budget must be an integer"),
        ({"budget": np.True_}, InvalidInputError, "budget must be an integer"),
        ({"budget": torch.tensor(True)}, InvalidInputError, "budget must be an integer"),
        ({"budget": 10**30, "upper": 10**30}, InvalidInputError, r"at most 2\^40"),
        ({"success_probability": ["0.5", "0.1"]}, InvalidInputError, "real numbers"),
        ({"success_probability": [None, 0.1]}, InvalidInputError, "real numbers"),
        (
            {"success_probability": [[0.1], [0.2, 0.3]]},
            InvalidInputError,
            r"list of numbers, one for each prompt; got \[\[0.1",
        ),
        ({"success_probability": torch.tensor([1j, 0])}, InvalidInputError, "list of"),
        ({"success_probability": np.array([1j, 0])}, InvalidInputError, "real numbers"),
        ({"budget": 5}, InfeasibleBudgetError, "take 6 to 16 rollouts, and the budget is 5"),
        ({"budget": 17}, InfeasibleBudgetError, "take 6 to 16 rollouts, and the budget is 17"),
        ({"lower": 9}, InvalidInputError, "lower must not exceed upper"),
        ({"lower": 3.5}, InvalidInputError, "lower must be an integer"),
        ({"upper": "8"}, InvalidInputError, "upper must be an integer"),
        ({"lower": 1}, InvalidInputError, "raise lower to at least 2"),
        ({"lower": 2, "objective": "dr_grpo"}, InvalidInputError, "raise lower to at least 3"),
        ({"objective": "grpo"}, InvalidInputError, "'rloo', 'dr_grpo' or an Objective; got 'grpo'"),
        ({"method": "slsqp"}, InvalidInputError, "'exact' or 'paper'; got 'slsqp'"),
        ({"weight": [0.2, -1.0]}, InvalidInputError, "weight must not be negative"),
        ({"weight": [0.2]}, InvalidInputError, "one entry for each of 2 prompts; got 1"),
        ({"objective": Rloo([0.2])}, InvalidInputError, "the objective is for 1 prompts"),
        ({"objective": Rloo([0.2, 0.1]), "weight": [1, 1]}, InvalidInputError, "has its own weights"),
    ],
)
def test_bad_input_gets_one_clear_error(change, error, message):
    with pytest.raises(error, match=message):
        allocate(**{**GOOD, **change})


class Stepwise(Objective):
    def shape(self, n):
        return 1.0 / n


def test_relaxed_and_paper_need_a_slope():
    objective = Stepwise([1.0, 2.0])
    assert allocate(None, 7, lower=1, upper=6, objective=objective).tolist() == [3, 4]
    with pytest.raises(InvalidInputError, match="Stepwise has no slope"):
        relaxed(None, 7, lower=1, upper=6, objective=objective)
    with pytest.raises(InvalidInputError, match="Stepwise has no slope"):
        allocate(None, 7, lower=1, upper=6, objective=objective, method="paper")


def test_is_exported_lazily():
    code = "import sys, verl_vip; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert verl_vip.allocate is allocate
    with pytest.raises(AttributeError, match="no attribute 'alocate'"):
        _ = verl_vip.alocate


def test_an_upper_bound_without_limit_is_the_budget():
    p = [0.1, 0.5, 0.99]
    assert allocate(p, 24, lower=3, upper=10**30).equal(allocate(p, 24, lower=3, upper=24))


class Shaped(Objective):
    """An objective of a user, with a mistake."""

    def __init__(self, shape):
        super().__init__([1.0, 1.0, 1.0])
        self._shape = shape

    def shape(self, n):
        return self._shape(np.asarray(n, dtype=float))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (lambda n: n, "rises with the number of rollouts"),
        (lambda n: n * np.nan, "not finite"),
        (lambda n: (n - 6) ** 2, "rises with the number of rollouts"),
        (lambda n: -(n**2), "do not decrease"),
        (lambda _: np.ones(7), "one number for each prompt"),
    ],
)
def test_mistakes_in_an_objective_are_found(shape, message):
    with pytest.raises(InvalidInputError, match=message):
        allocate(None, 24, lower=3, upper=16, objective=Shaped(shape))


def test_an_objective_without_weights_is_refused():
    class Weightless(Shaped):
        def __init__(self):
            self._shape = np.exp

    with pytest.raises(InvalidInputError, match="has no weights; call super"):
        allocate(None, 24, lower=3, upper=16, objective=Weightless())
