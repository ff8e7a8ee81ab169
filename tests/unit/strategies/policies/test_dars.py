import pytest
import torch

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.dars import Dars


@pytest.mark.parametrize(
    ("schedule", "expected"),
    # With N = 8: S = 2r(1-r), further = (4 t - 8 S) / S, at most 24 (equal) or 56 (hard); r = 1/16 for none solved.
    [("equal", [24, 11, 3, 0, 0]), ("hard", [56, 24, 8, 0, 0])],
)
def test_golden_wishes(schedule, expected):
    rates = torch.tensor([0.0, 0.125, 0.25, 0.5, 1.0], dtype=torch.float64)
    assert Dars(first_stage=8, schedule=schedule).further_rollouts(rates, 8).tolist() == expected


def test_wishes_beyond_the_budget_are_cut_to_one_level(batch, play):
    script = [[0] * 32, [0] * 32, [1, 0, 0, 0] * 8, [1] * 32]
    step = play(Dars(), *batch([0.5] * 4), Budget(24, 2, 32), script=script)
    assert step.counts[0].tolist() == [4] * 4
    assert step.counts[1].tolist() == [3, 3, 2, 0]
    assert [bool(flags.any()) for flags in step.selection.keep] == [False, False, True, False]


def test_wishes_within_the_budget_are_met_and_the_rest_is_left(batch, play):
    script = [[0] * 32, [0] * 32, [1, 0, 0, 0] * 8, [1] * 32]
    step = play(Dars(), *batch([0.5] * 4), Budget(64, 2, 32), script=script)
    assert step.counts[1].tolist() == [6, 6, 2, 0]
