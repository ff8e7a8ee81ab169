import numpy as np
import pytest
import torch

from verl_vip.allocation.validation import (
    as_count,
    as_nonnegative,
    as_probability,
    as_vector,
    require_bounds,
    require_feasible,
)
from verl_vip.errors import InfeasibleBudgetError, InvalidInputError


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 0.25],
        (0.5, 0.25),
        np.array([0.5, 0.25], np.float32),
        torch.tensor([0.5, 0.25], dtype=torch.float16),
    ],
)
def test_vectors_become_float64(values):
    vector = as_vector(values, "p")
    assert vector.dtype == np.float64
    assert vector.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("values", [[0.5, np.inf], [np.nan], [], [[1.0]], "abc", [None], [[1.0], [1.0, 2.0]]])
def test_what_is_not_a_finite_vector_is_refused_by_name(values):
    with pytest.raises(InvalidInputError, match=r"^scores "):
        as_vector(values, "scores")


def test_infinity_may_be_allowed_but_never_nan():
    assert as_vector([1.0, np.inf], "strength", finite=False).tolist() == [1.0, np.inf]
    with pytest.raises(InvalidInputError, match="strength must be numbers; prompt 1 has nan"):
        as_vector([1.0, np.nan], "strength", finite=False)


def test_ends_of_the_range_are_allowed():
    assert as_probability([0, 1]).tolist() == [0.0, 1.0]
    assert as_nonnegative([0, 7], "weight", 2).tolist() == [0.0, 7.0]


@pytest.mark.parametrize("value", [7, np.int32(7), torch.tensor(7)])
def test_integers_of_any_library_are_counts(value):
    assert as_count(value, "budget") == 7


@pytest.mark.parametrize("value", [7.0, "7", None, True, [7], torch.tensor(7.0)])
def test_other_things_are_not(value):
    with pytest.raises(InvalidInputError, match="budget must be an integer number of rollouts"):
        as_count(value, "budget")


def test_bounds_name_the_objective_and_the_remedy():
    require_bounds(3, 3, 3, "dr_grpo")
    with pytest.raises(
        InvalidInputError, match=r"objective dr_grpo is convex only from 3 .* raise lower to at least 3"
    ):
        require_bounds(2, 8, 3, "dr_grpo")


def test_budgets_at_both_ends_are_feasible():
    require_feasible(4, 12, 3, 8)
    require_feasible(4, 32, 3, 8)
    for budget in (11, 33):
        with pytest.raises(InfeasibleBudgetError, match=f"12 to 32 rollouts, and the budget is {budget}"):
            require_feasible(4, budget, 3, 8)
