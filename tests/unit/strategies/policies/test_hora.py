from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.hora import Hora


def test_golden_further_counts(batch, play):
    script = [[1] * k + [0] * 100 for k in (0, 0, 1, 1, 2, 3, 4, 4)]
    step = play(Hora(), *batch([0.5] * 8), Budget(128, 2, 64), script=script)
    assert step.counts[0].tolist() == [4] * 8
    assert step.counts[1].tolist() == [23, 22, 14, 14, 9, 6, 4, 4]
    assert step.selection.keep is None


def test_a_probe_may_take_the_whole_budget(batch, play):
    step = play(Hora(), *batch([0.5] * 4), Budget(12, 2, 8))
    assert [counts.tolist() for counts in step.counts] == [[3] * 4]
