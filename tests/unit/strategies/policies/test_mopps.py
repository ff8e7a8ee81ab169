from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.mopps import Mopps


def test_certain_candidates_closest_to_the_target_are_served(batch, play):
    p = [0.0, 0.45, 0.9, 0.5, 0.2, 0.62]
    step = play(Mopps(group_size=8), *batch(p), Budget(25, 2, 32))
    assert step.totals.tolist() == [0, 8, 0, 9, 0, 8]


def test_uncertain_candidates_are_tried_now_and_then(batch, play):
    strategy = Mopps(group_size=8)
    served = {
        tuple(play(strategy, *batch([0.5, 0.2], [0.05, 0.1]), Budget(8, 2, 32)).totals.tolist()) for _ in range(30)
    }
    assert served == {(8, 0), (0, 8)}
