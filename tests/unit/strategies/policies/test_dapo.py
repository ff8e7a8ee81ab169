from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.dapo import Dapo

MIXED, SILENT = [0, 1, 0, 1], [0, 0, 0, 0]


def test_silent_groups_are_replaced_until_the_update_is_full(batch, play):
    script = [SILENT, MIXED, SILENT, MIXED, MIXED, MIXED]
    step = play(Dapo(group_size=4), *batch([0.5] * 6), Budget(24, 2, 8), script=script)
    assert [counts.tolist() for counts in step.counts] == [
        [4, 4, 4, 0, 0, 0],
        [0, 0, 0, 4, 4, 0],
    ]
    assert [bool(flags.any()) for flags in step.selection.keep] == [False, True, False, True, True, False]
    assert all(flags.all() or not flags.any() for flags in step.selection.keep)


def test_sampling_ends_with_the_budget(batch, play):
    step = play(Dapo(group_size=4), *batch([0.0] * 8), Budget(24, 2, 8))
    assert step.totals.tolist() == [4] * 6 + [0] * 2
    assert not any(flags.any() for flags in step.selection.keep)
