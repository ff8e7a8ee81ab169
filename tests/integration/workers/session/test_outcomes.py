"""What came back of a step, against what was planned."""

import math

import pytest
import torch

from verl_vip.advantages.selection import Selection
from verl_vip.errors import IntegrationError, InvalidInputError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Stateless
from verl_vip.strategies.step import Step
from verl_vip.workers.session.outcomes import GroupedRollouts, Plan, Rollouts, group_by_prompt, require_requested


class Fixed(Stateless):
    """Asks for given counts."""

    def __init__(self, counts):
        self.counts = counts

    def rounds(self, prompts, prediction, budget):
        yield torch.tensor(self.counts)
        return Selection()


def planned(counts):
    uids = [f"u{row}" for row in range(len(counts))]
    half = torch.full((len(counts),), 0.5)
    prompts = Prompts(tuple(f"id{row}" for row in range(len(counts))), torch.zeros(len(counts), 2))
    prediction = Prediction(half, 0 * half)
    budget = Budget(sum(counts), 0, max(counts))
    return Plan(
        step=3,
        strategy="fixed",
        uids=uids,
        labels=["add"] * len(counts),
        prompts=prompts,
        prediction=prediction,
        budget=budget,
        rounds=Step(Fixed(list(counts)), prompts, prediction, budget, name="fixed"),
        seconds={},
    )


def came_back(*groups, unscored=()):
    rewards = [torch.ones(size) for size in groups]
    return GroupedRollouts(rewards, list(unscored) or [0] * len(groups), [0] * len(groups))


def test_rollouts_are_sorted_by_prompt_with_unscored_ones_apart():
    rollouts = Rollouts(
        uids=["u1", "u0", "u1", "u1", "u0"],
        rewards=[1.0, -1.0, math.nan, 0.0, math.inf],
        tokens=[1, 2, 4, 8, 16],
    )
    found = group_by_prompt(planned([2, 3, 1]), rollouts, [(-1.0, 1.0)] * 3)
    assert [rewards.tolist() for rewards in found.rewards] == [[0.0], [1.0, 0.5], []]
    assert found.unscored == [1, 1, 0]
    assert found.tokens == [18, 13, 0]
    assert found.observed == [1, 2, 0]
    assert found.arrived == [2, 3, 0]


def test_a_reward_outside_the_range_is_refused():
    with pytest.raises(InvalidInputError, match=r"data source 'add' has reward 2\.0, outside its range \[0\.0, 1\.0\]"):
        group_by_prompt(planned([1]), Rollouts(["u0"], [2.0], [1]), [(0.0, 1.0)])


def test_each_prompt_has_the_range_of_its_scorer():
    rollouts = Rollouts(["u0", "u1", "u1", "u0"], [-1.0, 0.0, 1.0, 1.0], [1] * 4)
    found = group_by_prompt(planned([2, 2]), rollouts, [(-1.0, 1.0), (0.0, 1.0)])
    assert [rewards.tolist() for rewards in found.rewards] == [[0.0, 1.0], [0.0, 1.0]]
    told = r"reward -1\.0, .*\+vip\.reward_range_by_source=\{add: \[failed, solved\]\}"
    with pytest.raises(InvalidInputError, match=told):
        group_by_prompt(planned([1, 1]), Rollouts(["u1"], [-1.0], [1]), [(-1.0, 1.0), (0.0, 1.0)])


@pytest.mark.parametrize("arrived", [(4, 4, 4), (4, 3, 4), (4, 4, 0)])
def test_ignored_counts_are_told_from_failures(arrived):
    with pytest.raises(IntegrationError, match="sampled 4 rollouts for every prompt of step 3 and ignored"):
        require_requested(planned([2, 3, 7]), came_back(*arrived), nominal=4)


@pytest.mark.parametrize("arrived", [(2, 2, 2), (0, 0, 1), (2, 3, 6), (2, 0, 7)])
def test_failures_are_a_warning(arrived, caplog):
    require_requested(planned([2, 3, 7]), came_back(*arrived), nominal=4)
    assert "returned another number of rollouts than requested" in caplog.text


def test_what_is_as_planned_says_nothing(caplog):
    require_requested(planned([2, 3, 7]), came_back(2, 3, 7), nominal=4)
    assert not caplog.text


def test_unscored_rollouts_are_told_by_prompt_and_are_not_missing(caplog):
    require_requested(planned([2, 3, 7]), came_back(2, 1, 6, unscored=[0, 2, 1]), nominal=4)
    assert "the rewards of 3 rollouts of 2 prompts are not finite numbers (first: add id1)" in caplog.text
    assert "returned another number" not in caplog.text
