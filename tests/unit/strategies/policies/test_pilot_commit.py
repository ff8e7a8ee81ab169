from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.pilot_commit import PilotCommit


def rewards(solved, pilot=4, commit=12):
    return [1] * solved + [0] * (pilot - solved) + [0, 1] * (commit // 2)


def test_survivors_are_committed_the_most_varied_first(batch, play):
    script = [rewards(k) for k in (0, 1, 2, 4, 3, 2)]
    step = play(PilotCommit(), *batch([0.5] * 6), Budget(48, 2, 32), script=script)
    assert [counts.tolist() for counts in step.counts] == [[4] * 6, [0, 0, 12, 0, 0, 12]]
    assert [bool(flags.all()) for flags in step.selection.keep] == [False, False, True, False, False, True]


def test_candidates_are_those_the_budget_pilots(batch, play):
    script = [rewards(2)] * 9
    step = play(PilotCommit(), *batch([0.5] * 9), Budget(48, 2, 32), script=script)
    assert step.counts[0].tolist() == [4] * 6 + [0] * 3
    assert step.counts[1].tolist() == [12, 12] + [0] * 7


def test_solved_prompts_never_come_back(batch, play):
    strategy = PilotCommit()
    play(strategy, *batch([0.5] * 3), Budget(24, 2, 32), script=[rewards(4), rewards(2), rewards(0)])
    step = play(strategy, *batch([0.5] * 3), Budget(24, 2, 32), script=[rewards(2)] * 3)
    assert step.counts[0].tolist() == [0, 4, 4]
    assert strategy.state_dict()["values"] == {"excluded": ["prompt-0"]}


def test_no_survivor_means_no_commit(batch, play):
    step = play(PilotCommit(), *batch([0.0] * 4), Budget(64, 2, 32))
    assert len(step.counts) == 1
    assert not any(flags.any() for flags in step.selection.keep)
