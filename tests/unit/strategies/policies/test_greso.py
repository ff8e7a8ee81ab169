import pytest

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.greso import Greso


def test_runs_without_signal_are_counted_and_end_with_signal(batch, play):
    strategy = Greso(group_size=4)
    budget = Budget(16, 2, 8)
    play(strategy, *batch([0.5] * 3), budget, script=[[0] * 4, [1] * 4, [0, 1] * 2])
    assert strategy.state_dict()["values"]["runs"] == {"prompt-0": -1, "prompt-1": 1, "prompt-2": 0}
    for seed in range(40):
        play(strategy, *batch([0.5] * 3), budget, success=[0.0, 1.0, 1.0], seed=seed)
    runs = strategy.state_dict()["values"]["runs"]
    assert runs["prompt-0"] < -1
    assert runs["prompt-1"] > 1
    play(strategy, *batch([0.5], first=2), budget, script=[[0, 1, 1, 1]])
    # Either it was skipped, and its run is as it was, or its run has ended.
    assert strategy.state_dict()["values"]["runs"]["prompt-2"] in (0, runs["prompt-2"])


def test_long_runs_are_visited_rarely_but_visited(batch, play):
    strategy = Greso(group_size=4)
    state = strategy.state_dict()
    state["values"]["runs"] = {f"prompt-{row}": -50 for row in range(4000)}
    strategy.load_state_dict(state)
    counts = play(strategy, *batch([0.5] * 4000), Budget(16_000, 2, 8)).totals
    assert 20 <= int((counts > 0).sum()) <= 60


def test_probabilities_fall_while_too_many_groups_are_silent_and_stay_in_bounds(batch, play):
    strategy = Greso(group_size=4)
    prompts = batch([0.5] * 8)
    play(strategy, *prompts, Budget(32, 2, 8), success=[0.0] * 8)
    assert strategy.state_dict()["values"]["visit"] == {"easy": 0.5, "hard": 0.5}
    moved = play(strategy, *prompts, Budget(32, 2, 8), success=[0.0] * 8, seed=1)
    assert moved.totals.sum() > 0
    assert strategy.state_dict()["values"]["visit"] == pytest.approx({"easy": 0.51, "hard": 0.49})


def test_groups_without_signal_are_dropped(batch, play):
    step = play(Greso(group_size=4), *batch([0.5] * 2), Budget(8, 2, 8), script=[[0] * 4, [0, 1] * 2])
    assert [flags.tolist() for flags in step.selection.keep] == [[False] * 4, [True] * 4]
