import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.allocation import (
    CobaValue,
    DrGrpo,
    HoraValue,
    KnapsackValue,
    Objective,
    PredictedBaseline,
    Rloo,
)
from verl_vip.allocation.exact import exact_counts, level
from verl_vip.errors import InvalidInputError

OBJECTIVES = {
    "rloo": lambda p: Rloo(p * (1 - p)),
    "dr_grpo": lambda p: DrGrpo(p * (1 - p)),
    "predicted_baseline": lambda p: PredictedBaseline(p * (1 - p), 0.2 + 20 * p**2),
    "log_success": lambda p: Rloo(np.minimum((1 - p) / np.maximum(p, 1e-9), 1e9)),
    "knapsack": KnapsackValue,
    "coba": lambda p: CobaValue(2 * p, p * (1 - p) / 3),
    "hora": lambda p: HoraValue(1 + 4 * p, 1 + 4 * (1 - p)),
}
LEAST = {"rloo": 2, "dr_grpo": 3, "log_success": 2, "coba": 0, "hora": 0}

# Skewed (many orders of magnitude), ordinary, and tied probabilities, with the two that need no rollouts.
probability = st.one_of(
    st.sampled_from([0.0, 1.0, 0.5, 0.2, 0.8, 0.25, 0.75, 1 / 3]),
    st.floats(0, 1),
    st.integers(1, 12).map(lambda k: 10.0**-k),
    st.integers(1, 12).map(lambda k: 1 - 10.0**-k),
)


def solve(objective, budget, lower, upper):
    bounds = np.full((2, len(objective)), [[lower], [upper]])
    counts = exact_counts(objective, budget, *bounds)
    assert counts.dtype == np.int64
    assert counts.sum() == budget
    assert counts.min() >= lower
    assert counts.max() <= upper
    return counts


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_equals_brute_force(name, data, brute_force):
    p = np.array(data.draw(st.lists(probability, min_size=1, max_size=5)))
    lower = data.draw(st.integers(LEAST.get(name, 1), 5))
    upper = lower + data.draw(st.integers(0, 4 if len(p) == 5 else 5))
    budget = data.draw(st.integers(len(p) * lower, len(p) * upper))
    objective = OBJECTIVES[name](p)
    counts = solve(objective, budget, lower, upper)
    best = brute_force(objective, budget, lower, upper)
    assert objective.value(counts).sum() == pytest.approx(best, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("seed", range(6))
def test_equals_dynamic_programming(name, seed, dynamic_program):
    rng = np.random.default_rng(seed)
    size, lower, upper = int(rng.integers(10, 60)), 3, int(rng.choice([6, 16, 40]))
    p = rng.beta(*[(0.05, 0.5), (0.5, 0.9), (2.0, 2.0)][seed % 3], size)
    budget = int(rng.integers(size * lower, size * upper))
    objective = OBJECTIVES[name](p)
    counts = solve(objective, budget, lower, upper)
    best = dynamic_program(objective, budget, lower, upper)
    assert objective.value(counts).sum() == pytest.approx(best, rel=1e-11)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("seed", range(8))
def test_equals_unit_greedy_count_for_count(name, seed, unit_greedy):
    rng = np.random.default_rng(seed)
    size, lower, upper = 200, 3, int(rng.choice([5, 64]))
    p = rng.beta(*[(0.05, 0.5), (0.5, 0.9), (2.0, 2.0)][seed % 3], size).clip(1e-6, 1 - 1e-6)
    budget = int(rng.integers(size * lower, size * upper))
    objective = OBJECTIVES[name](p)
    counts = solve(objective, budget, lower, upper)
    greedy = unit_greedy(objective, budget, np.full(size, lower), upper)
    np.testing.assert_array_equal(counts, greedy)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_swap_helps_in_a_large_batch(name):
    rng = np.random.default_rng(7)
    p = np.concatenate([rng.beta(0.4, 0.6, 19_000), rng.choice([0.0, 0.5, 1.0], 1_000)])
    objective, lower, upper = OBJECTIVES[name](p), 3, 128
    counts = solve(objective, 16 * p.size, lower, upper)
    gain = objective.gain(counts)[counts < upper].max()
    loss = objective.gain(counts - 1)[counts > lower].min()
    assert gain <= loss * (1 + 1e-11)


def test_bounds_may_differ_between_prompts(brute_force):
    objective = Rloo([0.25, 0.25, 0.25])
    counts = exact_counts(objective, 20, np.array([2, 9, 4]), np.array([16, 9, 5]))
    np.testing.assert_array_equal(counts, [6, 9, 5])


def test_weights_of_any_scale_give_the_same_counts():
    weight = np.random.default_rng(3).beta(0.5, 0.9, 64)
    reference = solve(Rloo(weight), 640, 3, 40)
    for scale in (1e-200, 1e-12, 1e12, 1e200):
        np.testing.assert_array_equal(solve(Rloo(weight * scale), 640, 3, 40), reference)


def test_weights_that_span_six_hundred_orders_of_magnitude():
    counts = solve(Rloo([1e-320, 1e-290, 1e300, 1.0]), 40, 3, 16)
    np.testing.assert_array_equal(counts, [3, 5, 16, 16])


class Linear(Objective):
    """Every rollout of a prompt gains the same, up to 100 of them."""

    min_rollouts = 0

    def shape(self, n):
        return 100.0 - n


def test_equal_gains_within_prompts_go_to_the_lowest_index():
    counts = solve(Linear([1.0, 2.0, 1.0, 1.0]), 100, 0, 40)
    np.testing.assert_array_equal(counts, [40, 40, 20, 0])


class Rising(Objective):
    """Gains rise with n, so that no threshold on them can spend an arbitrary budget."""

    min_rollouts = 0

    def shape(self, n):
        return -(np.asarray(n, dtype=float) ** 2)


def test_gains_that_rise_are_refused_rather_than_missing_the_budget():
    with pytest.raises(InvalidInputError, match="do not decrease"):
        exact_counts(Rising([1.0, 1.0]), 7, np.zeros(2, dtype=np.int64), np.full(2, 10))


@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=6).map(np.array),
    data=st.data(),
)
def test_level_raises_the_smallest_first(counts, data):
    upper = counts + np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(counts), max_size=len(counts))))
    budget = data.draw(st.integers(int(counts.sum()), int(upper.sum())))
    expected = counts.copy()
    for _ in range(budget - int(counts.sum())):
        expected[np.argmin(np.where(expected < upper, expected, 10**6))] += 1
    np.testing.assert_array_equal(level(counts, budget, upper), expected)
