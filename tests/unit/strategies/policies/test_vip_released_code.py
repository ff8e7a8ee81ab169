from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.vip_released_code import VipReleasedCode


def test_golden_counts_of_a_run_of_the_code(batch, play):
    prompts, prediction = batch([0.01, 0.1, 0.2, 0.4, 0.5, 0.8, 0.95, 0.99])
    step = play(VipReleasedCode(), prompts, prediction, Budget(64, 4, 12))
    assert step.totals.tolist() == [5, 11, 12, 12, 12, 4, 4, 4]


def test_nearly_solved_prompts_stay_at_the_lower_bound(batch, play):
    step = play(VipReleasedCode(), *batch([0.79, 0.8, 0.5]), Budget(24, 4, 16))
    assert step.totals[1] == 4
    assert step.totals[0] > 4
