from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.dynamo import Dynamo


def test_counts_follow_the_variance_within_half_and_one_and_a_half_of_the_mean(batch, play):
    counts = play(Dynamo(), *batch([0.5, 0.0, 0.9, 0.2]), Budget(64, 2, 64)).totals.tolist()
    assert counts == [24, 8, 8, 24]
    gentle = play(Dynamo(), *batch([0.5, 0.3, 0.7, 0.4]), Budget(64, 2, 64)).totals.tolist()
    assert gentle == [17, 15, 15, 17]
