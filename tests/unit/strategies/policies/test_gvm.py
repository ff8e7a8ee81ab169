import pytest

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.gvm import Gvm


def test_counts_go_like_one_over_the_root_of_success(batch, play):
    counts = play(Gvm(), *batch([0.25, 1.0, 0.0]), Budget(122, 2, 100)).totals.tolist()
    assert counts[2] == 2
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.05)


def test_very_rare_successes_are_not_chased(batch, play):
    counts = play(Gvm(), *batch([0.0001, 0.05]), Budget(100, 2, 98)).totals.tolist()
    assert counts[0] < counts[1]
