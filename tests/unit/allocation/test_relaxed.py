import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.allocation import CobaValue, DrGrpo, HoraValue, KnapsackValue, PredictedBaseline, Rloo
from verl_vip.allocation import relaxed as solve_relaxed
from verl_vip.allocation.relaxed import relaxed_counts

P = [0.01, 0.1, 0.2, 0.4, 0.5, 0.8, 0.95, 0.99]
OBJECTIVES = {
    "rloo": lambda p: Rloo(p * (1 - p)),
    "dr_grpo": lambda p: DrGrpo(p * (1 - p)),
    "predicted_baseline": lambda p: PredictedBaseline(p * (1 - p), 0.5 + 9 * p),
    "knapsack": KnapsackValue,
    "coba": lambda p: CobaValue(2 * p, p * (1 - p) / 3),
    "hora": lambda p: HoraValue(1 + 4 * p, 1 + 4 * (1 - p)),
}


@pytest.mark.parametrize(
    ("objective", "price", "counts"),
    [
        ("rloo", 0.00213045553, [4, 7.499576, 9.666101, 11.613763, 11.832626, 9.666101, 5.721832, 4]),
        ("dr_grpo", 0.00125903447, [4, 7.181653, 10.094738, 12, 12, 10.094738, 4.628871, 4]),
    ],
)
def test_golden_values(objective, price, counts):
    solution = solve_relaxed(P, 64, lower=4, upper=12, objective=objective)
    assert solution.price == pytest.approx(price, rel=1e-8)
    assert solution.rollouts.dtype == torch.float64
    np.testing.assert_allclose(solution.rollouts, counts, atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=20, deadline=None)
@given(p=st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=12).map(np.array), data=st.data())
def test_meets_the_optimality_conditions(name, p, data):
    lower, upper = 3, 24
    budget = data.draw(st.integers(len(p) * lower + 1, len(p) * upper - 1))
    objective = OBJECTIVES[name](p)
    counts, price = relaxed_counts(objective, budget, lower, upper)
    assert counts.sum() == pytest.approx(budget, rel=1e-12)
    assert counts.min() >= lower
    assert counts.max() <= upper
    slope = objective.weight * objective.slope(counts)
    assert (slope[counts > lower + 1e-9] >= price * (1 - 1e-7)).all()
    assert (slope[counts < upper - 1e-9] <= price * (1 + 1e-7)).all()


def test_price_is_what_one_more_rollout_takes_off():
    p = np.array(P)
    objective = Rloo(p * (1 - p))
    (before, price), (after, _) = (relaxed_counts(objective, budget, 2, 64) for budget in (128, 129))
    saved = objective.value(before).sum() - objective.value(after).sum()
    assert 0.98 * price < saved < price


@pytest.mark.parametrize("objective", ["rloo", "dr_grpo"])
def test_all_counts_at_a_bound_on_an_interval_of_prices(objective):
    solution = solve_relaxed(None, 13, lower=3, upper=10, objective=objective, weight=[0.25, 1e-6])
    np.testing.assert_allclose(solution.rollouts, [10, 3], atol=1e-12)


@pytest.mark.parametrize(("budget", "expected"), [(9, [3, 3, 3]), (30, [10, 10, 10])])
def test_budget_at_the_end_of_its_range(budget, expected):
    solution = solve_relaxed([0.1, 0.5, 0.9], budget, lower=3, upper=10)
    assert solution.rollouts.tolist() == expected
    assert solution.price > 0


def test_weightless_prompts_share_what_the_others_cannot_take():
    solution = solve_relaxed([0.0, 0.5, 1.0], 17, lower=3, upper=10)
    np.testing.assert_allclose(solution.rollouts, [3.5, 10, 3.5])
    assert solution.price == 0


def test_symmetric_in_success_and_failure():
    p = np.random.default_rng(0).beta(0.5, 0.9, 100)
    one, other = (solve_relaxed(q, 900, lower=3, upper=32).rollouts for q in (p, 1 - p))
    np.testing.assert_allclose(one, other, rtol=1e-9)
