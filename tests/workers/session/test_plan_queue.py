"""Plans wait their turn, and survive a checkpoint."""

import dataclasses

import pytest
import torch

from verl_vip.errors import IntegrationError, StateError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.state_file import read_state, write_state
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.vip import Vip
from verl_vip.strategies.step import Step
from verl_vip.workers.session.outcomes import Plan, StepOutcomes
from verl_vip.workers.session.plan_queue import PlanQueue

BUDGET = Budget(total=18, lower=2, upper=12)


def planned(step, *means):
    prompts = Prompts(tuple(f"{step}/{mean}" for mean in means), torch.randn(len(means), 5))
    mean = torch.tensor(means)
    prediction = Prediction(mean, 0.1 * mean * (1 - mean), torch.full_like(mean, 0.9))
    return Plan(
        step=step,
        strategy="vip",
        uids=[f"{step}-{row}" for row in range(len(means))],
        labels=["add"] * len(means),
        prompts=prompts,
        prediction=prediction,
        budget=BUDGET,
        rounds=Step(Vip(), prompts, prediction, BUDGET, name="vip"),
        seconds={"predict": 0.25},
    )


@pytest.fixture
def queue():
    found = PlanQueue()
    for means in ((0.5, 0.2, 0.9), (0.1, 0.6, 0.3)):
        found.append(planned(found.step_to_plan(7), *means))
    return found


def test_plans_are_for_consecutive_steps_and_are_taken_in_that_order(queue):
    assert len(queue) == 2
    assert queue.step_to_plan(7) == 9
    assert sorted(queue.counts) == ["7-0", "7-1", "7-2", "8-0", "8-1", "8-2"]
    assert sum(queue.counts.values()) == 2 * BUDGET.total
    assert queue.sizes == {(3, 18)}
    with pytest.raises(IntegrationError, match="rollouts of step 8 arrived without a plan"):
        queue.pop(8)
    assert queue.head(7) is queue.pop(7)
    assert queue.pop(8).uids == ["8-0", "8-1", "8-2"]
    with pytest.raises(IntegrationError, match="rollouts of step 9 arrived without a plan"):
        queue.head(9)
    assert queue.step_to_plan(9) == 9


def test_a_restored_queue_asks_for_the_same_counts_and_ends_its_steps(queue, tmp_path):
    write_state(tmp_path / "state", {"plans": queue.state_dict()})
    restored = PlanQueue()
    restored.load_state_dict(read_state(tmp_path / "state")["plans"], after=6)
    assert restored.counts == queue.counts
    for step in (7, 8):
        before, after = queue.pop(step), restored.pop(step)
        for name in ("step", "strategy", "uids", "labels", "budget", "seconds"):
            assert getattr(after, name) == getattr(before, name)
        assert after.prompts.ids == before.prompts.ids
        for found, due in zip(
            (after.prompts.embeddings, *dataclasses.astuple(after.prediction)),
            (before.prompts.embeddings, *dataclasses.astuple(before.prediction)),
            strict=True,
        ):
            torch.testing.assert_close(found, due, rtol=0, atol=0)
        rewards = [torch.ones(count) for count in after.counts]
        after.outcomes.append(StepOutcomes(rewards, [0] * 3, after.counts))
        after.rounds.receive(tuple(rewards))
        assert after.counts == [0, 0, 0]
        assert after.rounds.selection.keep is None
        assert after.arrived == BUDGET.total


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": [2, 2, 2]}, "but the budget is 18"),
        ({"counts": [6, 6, 6.0]}, "a list of int was expected"),
        ({"uids": ["7-0", "7-1", "8-2"]}, "a prompt is there twice"),
        ({"uids": ["7-0", "7-1"]}, "2 uids and 3 labels for 3 prompts"),
        ({"labels": "add"}, "a list of str was expected"),
        ({"step": 9}, r"steps \[9, 8\] do not follow step 6"),
        ({"step": True}, "a list of int was expected"),
        ({"embeddings": torch.randn(2, 5)}, "with B = 3 rows"),
        (
            {"prediction": {"mean": torch.tensor([0.5, 2.0, 0.1]), "variance": torch.zeros(3), "variance_ratio": None}},
            r"lie in \[0, 1\]",
        ),
        ({"budget": {"total": 18, "lower": 2}}, "TypeError"),
        ({"seconds": 3}, "AttributeError"),
    ],
)
def test_what_is_not_a_plan_of_the_next_steps_is_refused_and_changes_nothing(queue, change, message):
    first, second = queue.state_dict()
    with pytest.raises(StateError, match=message):
        queue.load_state_dict([{**first, **change}, second], after=6)
    assert queue.counts.keys() == {"7-0", "7-1", "7-2", "8-0", "8-1", "8-2"}
    assert queue.head(7).step == 7


@pytest.mark.parametrize("state", [None, 3, "plans", {"step": 7}, [None], [3], [["step", 7]]])
def test_what_is_no_list_of_plans_is_refused(state):
    with pytest.raises(StateError, match="the prompts in flight is damaged"):
        PlanQueue().load_state_dict(state, after=6)


def test_a_cleared_queue_plans_from_the_step_under_way(queue):
    queue.clear()
    assert (len(queue), queue.counts, queue.step_to_plan(7)) == (0, {}, 7)
