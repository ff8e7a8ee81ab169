import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.allocation import (
    CobaValue,
    DrGrpo,
    HoraValue,
    KnapsackValue,
    PredictedBaseline,
    Rloo,
    SignalToNoise,
    allocate,
    allocate_pool,
)
from verl_vip.errors import InfeasibleBudgetError, InvalidInputError

VALUES = {
    "knapsack": KnapsackValue,
    "coba": lambda p: CobaValue(0.2 + 3 * p, p * (1 - p) / 4),
    "hora": lambda p: HoraValue(1 + 4 * p, 5 - 4 * p),
    "signal": lambda p: SignalToNoise((p * (1 - p)) ** 2, 1 / np.maximum(p * (1 - p), 1e-3)),
}
probability = st.one_of(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.floats(0, 1))


@pytest.mark.parametrize("name", VALUES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_gap_holds_against_brute_force(name, data, brute_force):
    p = np.array(data.draw(st.lists(probability, min_size=1, max_size=5)))
    lower = data.draw(st.integers(1, 6))
    upper = lower + data.draw(st.integers(0, 4))
    budget = data.draw(st.integers(lower, len(p) * upper))
    objective = VALUES[name](p)
    best = brute_force(objective, budget, lower, upper, skip=True)
    if best is None:
        with pytest.raises(InfeasibleBudgetError, match="spends"):
            allocate_pool(objective, budget, lower=lower, upper=upper)
        return
    result = allocate_pool(objective, budget, lower=lower, upper=upper)
    counts = result.rollouts.numpy()
    assert counts.sum() == budget
    assert (((counts >= lower) & (counts <= upper)) | (counts == 0)).all()
    cost = (objective.weight * np.where(counts > 0, objective.shape(np.maximum(counts, 1)), 1.0)).sum()
    assert best - 1e-12 <= cost <= best + result.gap + 1e-12
    worth = max((objective.weight - objective.value(np.full(p.size, n))).max() for n in range(lower, upper + 1))
    assert result.gap <= worth + 1e-12


def test_a_large_pool_is_served_within_one_prompt_of_the_best():
    p = np.random.default_rng(2).beta(0.5, 0.9, 3000)
    objective = SignalToNoise((p * (1 - p)) ** 2, 1 / (p * (1 - p)))
    result = allocate_pool(objective, 4096, lower=4, upper=32)
    counts = result.rollouts.numpy()
    served = counts > 0
    assert 100 < served.sum() < 1024
    assert p[served].min() > 0.1
    assert p[served].max() < 0.9
    assert result.gap <= objective.weight.max()
    value = (objective.weight * np.where(served, 1 - objective.shape(np.maximum(counts, 1)), 0)).sum()
    assert result.gap < 1e-3 * value


def test_serving_fewer_beats_serving_all():
    p = np.array([0.5, 0.5, 0.001, 0.999, 0.002])
    objective = KnapsackValue(p)
    pool = allocate_pool(objective, 20, lower=4, upper=16)
    assert pool.rollouts.tolist() == [8, 8, 0, 0, 4] or pool.rollouts.tolist() == [10, 10, 0, 0, 0]
    everyone = allocate(p, 20, lower=4, upper=16, objective=objective)
    value = (objective.weight * (1 - objective.shape(everyone.numpy()))).sum()
    counts = pool.rollouts.numpy()
    assert (objective.weight * np.where(counts > 0, 1 - objective.shape(np.maximum(counts, 1)), 0)).sum() > value


def test_equal_candidates_are_served_in_order():
    result = allocate_pool(KnapsackValue([0.4] * 6), 12, lower=4, upper=4)
    assert result.rollouts.tolist() == [4, 4, 4, 0, 0, 0]
    assert result.gap == 0


@pytest.mark.parametrize("objective", [Rloo([0.2, 0.1]), DrGrpo([0.2, 0.1]), PredictedBaseline([0.2, 0.1], 3.0)])
def test_variance_alone_cannot_say_whom_to_leave_out(objective):
    with pytest.raises(InvalidInputError, match="does not define the worth of a prompt without rollouts"):
        allocate_pool(objective, 8, lower=3, upper=8)


@pytest.mark.parametrize(
    ("budget", "lower", "upper", "error", "message"),
    [
        (
            6,
            4,
            5,
            InfeasibleBudgetError,
            "no number of the 3 candidates, with 4 to 5 rollouts each, spends 6",
        ),
        (3, 4, 5, InfeasibleBudgetError, "spends 3"),
        (16, 4, 5, InfeasibleBudgetError, "spends 16"),
        (8, 0, 5, InvalidInputError, "raise lower to at least 1"),
        (8, 6, 5, InvalidInputError, "lower must not exceed upper"),
        (8.0, 4, 5, InvalidInputError, "budget must be an integer"),
    ],
)
def test_bad_settings_get_one_clear_error(budget, lower, upper, error, message):
    with pytest.raises(error, match=message):
        allocate_pool(HoraValue([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]), budget, lower=lower, upper=upper)


def test_a_pool_needs_an_objective():
    with pytest.raises(InvalidInputError, match="needs an Objective with a skipped_shape; got 'rloo'"):
        allocate_pool("rloo", 8, lower=4, upper=5)


def test_an_upper_bound_without_limit_is_the_budget():
    value = HoraValue([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert allocate_pool(value, 9, lower=1, upper=10**30).rollouts.equal(
        allocate_pool(value, 9, lower=1, upper=9).rollouts
    )
