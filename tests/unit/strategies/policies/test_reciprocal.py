import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.reciprocal import Reciprocal, proportional_counts


def test_shares_are_met_where_bounds_allow():
    assert proportional_counts(torch.tensor([1.0, 2.0, 3.0]), Budget(24, 1, 24)).tolist() == [4, 8, 12]
    assert proportional_counts(torch.tensor([1.0, 2.0, 3.0]), Budget(24, 0, 10)).tolist() == [5, 9, 10]
    assert proportional_counts(torch.tensor([0.0, 1.0]), Budget(12, 2, 10)).tolist() == [2, 10]


@settings(deadline=None, derandomize=True)
@given(st.floats(1, 100), st.floats(0.01, 10))
def test_slope_and_gain_are_those_of_the_shape(n, weight):
    objective = Reciprocal([weight])
    point = np.array([n])
    np.testing.assert_allclose(objective.shape_gain(point), objective.shape(point) - objective.shape(point + 1))
    step = 1e-5
    slope = (objective.shape(point - step) - objective.shape(point + step)) / (2 * step)
    np.testing.assert_allclose(objective.slope(point), slope, rtol=1e-4)
    np.testing.assert_allclose(objective.slope(objective.stationary(point)), 1 / point)
