import pytest
import torch

from verl_vip.errors import StateError
from verl_vip.prediction.state import pack, unpack


def test_values_come_back():
    with unpack(pack("ridge", {"alpha": 1.0}, {"w": 2}), "ridge", {"alpha": 1.0}, frozenset({"w"})) as values:
        assert values == {"w": 2}


def test_a_changed_setting_is_named_with_both_values():
    state = pack("ridge", {"alpha": 1.0}, {})
    with (
        pytest.raises(StateError, match=r"alpha=1\.0, and it is now 2\.0"),
        unpack(state, "ridge", {"alpha": 2.0}, frozenset()),
    ):
        pass


@pytest.mark.parametrize("bad", [float("nan"), torch.tensor([1.0, float("inf")]), {"x": [float("nan")]}])
def test_numbers_that_are_not_finite_are_damage(bad):
    with (
        pytest.raises(StateError, match="not all numbers are finite"),
        unpack(pack("a", {}, {"w": bad}), "a", {}, frozenset()),
    ):
        pass


@pytest.mark.parametrize(
    "wrong", [lambda: {}["w"], lambda: int("x"), lambda: None.w, lambda: torch.zeros(2) @ torch.zeros(3)]
)
def test_whatever_fails_while_a_state_is_restored_is_damage(wrong):
    with (
        pytest.raises(StateError, match=r"predictor 'a' is damaged .*start afresh"),
        unpack(pack("a", {}, {}), "a", {}, frozenset()),
    ):
        wrong()
