import pytest

from verl_vip.errors import StateError
from verl_vip.prediction.state import pack, unpack


def test_values_come_back():
    assert unpack(pack("ridge", {"alpha": 1.0}, {"w": 2}), "ridge", {"alpha": 1.0}, frozenset({"w"})) == {"w": 2}


def test_a_changed_setting_is_named_with_both_values():
    state = pack("ridge", {"alpha": 1.0}, {})
    with pytest.raises(StateError, match=r"alpha=1\.0, and it is now 2\.0"):
        unpack(state, "ridge", {"alpha": 2.0}, frozenset())
