from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.cero import Cero


def test_the_most_valuable_are_served_and_lose_worth(batch, play):
    strategy = Cero(group_size=8)
    candidates = batch([0.5, 0.4, 0.3, 0.01])
    assert play(strategy, *candidates, Budget(16, 2, 32)).totals.tolist() == [8, 8, 0, 0]
    assert strategy.state_dict()["values"]["spent"] == {"prompt-0": 8, "prompt-1": 8}
    for _ in range(3):
        play(strategy, *candidates, Budget(16, 2, 32))
    assert strategy.state_dict()["values"]["spent"]["prompt-2"] > 0


def test_the_price_follows_the_demand(batch, play):
    strategy = Cero(group_size=8, steps=16)
    play(strategy, *batch([0.5] * 4), Budget(16, 2, 32))
    assert strategy.state_dict()["values"]["price"] == 0.25
    for _ in range(40):
        play(strategy, *batch([0.0] * 4), Budget(16, 2, 32))
    assert strategy.state_dict()["values"]["price"] == 0.0


def test_worthless_prompts_get_nothing(batch, play):
    step = play(Cero(), *batch([0.0, 1.0, 0.5]), Budget(24, 2, 32))
    assert step.totals.tolist() == [0, 0, 8]
