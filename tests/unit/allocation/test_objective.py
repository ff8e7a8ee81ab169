import numpy as np
import pytest

from verl_vip.allocation import (
    ClosedFormObjective,
    CobaValue,
    DrGrpo,
    HoraValue,
    KnapsackValue,
    Objective,
    PredictedBaseline,
    Rloo,
    SmoothObjective,
    allocate,
)
from verl_vip.allocation.validation import as_nonnegative
from verl_vip.errors import InvalidInputError

P = np.array([0.0, 1e-6, 0.03, 0.2, 0.5, 0.7, 0.999, 1.0])
V = P * (1 - P)
EVERY = [
    Rloo(V),
    DrGrpo(V),
    PredictedBaseline(V, 0.0),
    PredictedBaseline(V, 1.0),
    PredictedBaseline(V, np.geomspace(0.01, 500, P.size)),
    PredictedBaseline(V, float("inf")),
    KnapsackValue(P),
    CobaValue(1 + P, V / 4),
    HoraValue(1 + 5 * P, 6 - 5 * P),
]
NAMES = [f"{type(objective).__name__}-{i}" for i, objective in enumerate(EVERY)]
CLOSED = [objective for objective in EVERY if isinstance(objective, ClosedFormObjective)]


def counts_from(objective, most=80):
    return np.arange(objective.min_rollouts, most)[:, None] * np.ones(P.size, dtype=np.int64)


@pytest.mark.parametrize("objective", EVERY, ids=NAMES)
def test_gain_is_the_difference_of_shapes(objective):
    n = counts_from(objective)
    expected = objective.shape(n) - objective.shape(n + 1)
    np.testing.assert_allclose(objective.shape_gain(n), expected, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("objective", EVERY, ids=NAMES)
def test_gains_fall_and_stay_positive(objective):
    gains = objective.shape_gain(counts_from(objective))
    assert (gains >= 0).all()
    assert (np.diff(gains, axis=0) <= 1e-15).all()


@pytest.mark.parametrize("objective", EVERY, ids=NAMES)
def test_slope_is_the_derivative(objective):
    n = np.linspace(objective.min_rollouts + 0.5, 40, 60)[:, None] * np.ones(P.size)
    step = 1e-5 * n
    numeric = (objective.shape(n - step) - objective.shape(n + step)) / (2 * step)
    np.testing.assert_allclose(objective.slope(n), numeric, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("objective", CLOSED, ids=lambda objective: type(objective).__name__)
@pytest.mark.parametrize("price", [1e-9, 1e-5, 1e-3, 0.02, 1.0])
def test_closed_forms_agree_with_bisection(objective, price):
    lower, upper = np.full((2, P.size), [[3], [90]])
    closed, numeric = (kind.response(objective, price, lower, upper) for kind in (type(objective), SmoothObjective))
    np.testing.assert_allclose(closed, numeric, rtol=1e-8)
    closed, numeric = (kind.counts_at_price(objective, price, lower, upper) for kind in (type(objective), Objective))
    np.testing.assert_array_equal(closed, numeric)


@pytest.mark.parametrize("objective", EVERY, ids=NAMES)
def test_counts_at_a_price_are_the_gains_worth_it(objective):
    lower, upper = np.full((2, P.size), [[3], [40]])
    gains = objective.gain(np.arange(3, 40)[:, None] * np.ones(P.size, dtype=np.int64))
    for price in (1e-300, 1e-7, 1.1e-4, 3e-3, 0.5):
        expected = 3 + (gains >= price).sum(axis=0)
        np.testing.assert_array_equal(objective.counts_at_price(price, lower, upper), expected)


class Saturating(Objective):
    min_rollouts = 0

    def __init__(self, weight, rate):
        super().__init__(weight)
        self.rate = as_nonnegative(rate, "rate", len(self))

    def shape(self, n):
        return np.exp(-self.rate * n)


def test_an_objective_of_ones_own_is_a_few_lines():
    weight, rate = [1.0, 2.0, 0.5], [0.1, 0.2, 0.9]
    counts = allocate(None, 40, lower=0, upper=32, objective=Saturating(weight, rate))
    assert counts.tolist() == allocate(None, 40, lower=0, upper=32, objective=CobaValue(weight, rate)).tolist()
    assert counts.sum() == 40


@pytest.mark.parametrize("weight", [[-1.0], [np.nan], [np.inf], []])
def test_weights_must_be_finite_and_not_negative(weight):
    with pytest.raises(InvalidInputError, match="weight"):
        Rloo(weight)
