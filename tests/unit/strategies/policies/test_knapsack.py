import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.knapsack import Knapsack


def value(p, n):
    return (1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2


def dynamic_program(p, total, lower, upper):
    best = {0: 0.0}
    for q in p:
        extended = {}
        for spent, worth in best.items():
            for n in range(lower, upper + 1):
                extended[spent + n] = max(extended.get(spent + n, -1.0), worth + value(q, n))
        best = extended
    return best[total]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(p=st.lists(st.floats(0.02, 0.98), min_size=1, max_size=5), data=st.data())
def test_greedy_counts_reach_the_dynamic_programs_value(p, data, batch, play):
    lower, upper = 2, 12
    enough = [min(max(int(np.ceil(np.log(0.1) / np.log(max(q, 1 - q)))), lower), upper) for q in p]
    total = data.draw(st.integers(lower * len(p), sum(enough)))
    counts = play(Knapsack(), *batch(p), Budget(total, lower, upper)).totals.tolist()
    reached = sum(value(q, n) for q, n in zip(p, counts, strict=True))
    assert reached == pytest.approx(dynamic_program(p, total, lower, upper), abs=1e-12)


def test_certain_prompts_get_the_least(batch, play):
    assert play(Knapsack(), *batch([0.0, 0.3, 1.0]), Budget(11, 2, 32)).totals.tolist() == [2, 7, 2]


def test_a_surplus_goes_to_the_unsolved_then_to_the_others(batch, play):
    # At p = 1/2 four rollouts carry signal with probability 0.875 and are enough at a confidence of 0.9.
    few = play(Knapsack(), *batch([0.5, 0.0, 0.0, 1.0]), Budget(20, 2, 8)).totals
    assert few.tolist() == [4, 7, 7, 2]
    many = play(Knapsack(), *batch([0.5, 0.0, 0.0, 1.0]), Budget(26, 2, 8)).totals
    assert many.tolist() == [5, 8, 8, 5]
    assert torch.equal(play(Knapsack(), *batch([0.0] * 3), Budget(9, 2, 8)).totals, torch.tensor([3, 3, 3]))
