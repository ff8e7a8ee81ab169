import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.allocation import CobaValue, HoraValue, KnapsackValue, allocate
from verl_vip.errors import InvalidInputError


def value(objective, n):
    return objective.weight - objective.value(np.asarray(n))


@given(st.floats(0, 1), st.integers(1, 60))
def test_knapsack_is_the_chance_of_a_mixed_group(p, n):
    expected = p * (1 - p) ** 2 * (1 - p**n - (1 - p) ** n)
    assert value(KnapsackValue([p]), [n])[0] == pytest.approx(expected, abs=1e-12)


def test_knapsack_leaves_settled_prompts_at_the_least():
    counts = allocate(None, 64, lower=2, upper=32, objective=KnapsackValue([0.0, 0.05, 0.3, 0.9, 1.0]))
    assert counts.tolist()[0] == counts.tolist()[-1] == 2
    assert counts.sum() == 64


def test_coba_saturates():
    objective = CobaValue([2.0, 1.0], [0.1, 0.0])
    np.testing.assert_allclose(value(objective, [5, 5]), [2 * (1 - np.exp(-0.5)), 0.0])


def test_hora_golden_counts():
    successes = np.array([0, 0, 1, 1, 2, 3, 4, 4])
    counts = allocate(None, 96, lower=0, upper=96, objective=HoraValue(1 + successes, 5 - successes))
    assert counts.tolist() == [23, 22, 14, 14, 9, 6, 4, 4]


@given(st.floats(0.1, 20), st.floats(0.1, 20), st.integers(0, 40))
def test_hora_is_the_chance_of_a_first_success(alpha, beta, n):
    misses = np.prod([(beta + j) / (alpha + beta + j) for j in range(n)])
    assert value(HoraValue([alpha], [beta]), [n])[0] == pytest.approx(1 - misses, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KnapsackValue([1.2]), "between 0 and 1"),
        (lambda: CobaValue([1.0], [-0.1]), "rate must not be negative"),
        (lambda: CobaValue([1.0], [0.1, 0.2]), "rate must have one entry for each of 1 prompts"),
        (lambda: HoraValue([1.0, 0.0], [1.0, 1.0]), "must be positive"),
    ],
)
def test_bad_parameters_get_one_clear_error(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()
