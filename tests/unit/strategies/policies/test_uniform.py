from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.uniform import Uniform


def test_the_rest_goes_to_the_first_prompts(batch, play):
    assert play(Uniform(), *batch([0.5] * 3), Budget(11, 2, 8)).totals.tolist() == [4, 4, 3]
