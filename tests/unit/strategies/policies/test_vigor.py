from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.vigor import Vigor


def test_groups_end_with_2_6_14_and_30(batch, play):
    varied = [[0, 1] * 16] * 8 + [[0] * 32] * 8
    step = play(Vigor(), *batch([0.5] * 16), Budget(128, 2, 32), script=varied)
    assert [int(counts.max()) for counts in step.counts] == [2, 4, 8, 16]
    assert sorted(step.totals.tolist()) == [2] * 8 + [6] * 4 + [14] * 2 + [30] * 2
    assert step.totals[8:].tolist() == [2] * 8
    assert step.totals.sum() == 128


def test_a_larger_first_round_shrinks_the_later_ones(batch, play):
    step = play(Vigor(), *batch([0.5] * 8), Budget(40, 4, 32))
    assert [int(counts.sum()) for counts in step.counts] == [32, 8]
