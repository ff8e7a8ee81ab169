import torch

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.reinforce_ada import ReinforceAda


def test_prompts_retire_at_two_of_each_kind_and_keep_half_of_each(batch, play):
    script = [[1, 0, 1, 0], [0] * 8 + [1] * 4, [1, 1, 1, 0, 0, 1, 1, 1]]
    strategy = ReinforceAda(round_size=4, kept=4)
    step = play(strategy, *batch([0.5] * 3), Budget(24, 2, 32), script=script)
    assert [counts.tolist() for counts in step.counts] == [[4, 4, 4], [0, 4, 4], [0, 4, 0]]
    kept = [
        torch.tensor(values, dtype=torch.float64)[flags]
        for values, flags in zip(script, step.selection.keep, strict=True)
    ]
    assert [(len(values), int(values.sum())) for values in kept] == [(4, 2), (4, 2), (4, 2)]
    assert step.selection.baseline == "sampled"


def test_one_success_is_enough_under_the_positive_rule(batch, play):
    script = [[1, 0, 0, 0], [0] * 16]
    strategy = ReinforceAda(round_size=4, exit_rule="positive")
    step = play(strategy, *batch([0.5] * 2), Budget(32, 2, 32), script=script)
    assert step.totals.tolist() == [4, 16]
    assert [int(flags.sum()) for flags in step.selection.keep] == [4, 4]


def test_half_the_budget_pays_for_the_first_round(batch, play):
    step = play(ReinforceAda(), *batch([0.0] * 8), Budget(64, 2, 32))
    assert step.counts[0].tolist() == [8] * 4 + [0] * 4
    assert step.totals.sum() == 64
