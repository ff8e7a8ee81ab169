import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.advantages.utility import utility_slope
from verl_vip.errors import InvalidInputError

UTILITIES = {
    "success": lambda p: p,
    "log_success": math.log,
    "sqrt_success": math.sqrt,
    "arcsine": lambda p: 2 * math.asin(math.sqrt(p)),
}


@settings(deadline=None, derandomize=True)
@given(p=st.floats(0.06, 0.94), name=st.sampled_from(sorted(UTILITIES)))
def test_the_slope_is_the_derivative(p, name):
    step = 1e-6
    numeric = (UTILITIES[name](p + step) - UTILITIES[name](p - step)) / (2 * step)
    slope = utility_slope(name, torch.tensor([p]).double(), floor=0.05)
    assert slope.item() == pytest.approx(numeric, rel=1e-6)


def test_no_prompt_weighs_more_than_one_over_the_floor():
    p = torch.tensor([0.0, 1.0])
    assert utility_slope("log_success", p, floor=0.05).tolist() == pytest.approx([20, 1 / 0.95])
    assert utility_slope("arcsine", p, floor=0.05).tolist() == pytest.approx([1 / math.sqrt(0.0475)] * 2)


def test_wrong_arguments_are_named():
    with pytest.raises(InvalidInputError, match="utility must be one of success, log_success"):
        utility_slope("log", torch.ones(1), floor=0.05)
    with pytest.raises(InvalidInputError, match=r"floor must be between 0 and 0.5; got 0"):
        utility_slope("success", torch.ones(1), floor=0.0)
