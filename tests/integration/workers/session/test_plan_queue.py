"""Plans wait their turn, and survive a checkpoint."""

import dataclasses

import pytest
import torch
from fixtures.sessions import MESSAGES, UIDS, ahead, finish, rollouts, started

from verl_vip.errors import ConfigError, IntegrationError, StateError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.records.records import read_run
from verl_vip.state_file import read_state, write_state
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.vip import Vip
from verl_vip.strategies.step import Step
from verl_vip.workers.session.outcomes import GroupedRollouts, Plan, Rollouts
from verl_vip.workers.session.plan_queue import PlanQueue
from verl_vip.workers.session.run_state import STATE_FILE
from verl_vip.workers.session.session import Session

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
    with pytest.raises(IntegrationError, match="step 8 has no plan"):
        queue.pop(8)
    assert queue.head(7) is queue.pop(7)
    assert queue.pop(8).uids == ["8-0", "8-1", "8-2"]
    with pytest.raises(IntegrationError, match="step 9 has no plan"):
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
        after.outcomes.append(GroupedRollouts(rewards, [0] * 3, after.counts))
        after.rounds.receive(tuple(rewards))
        assert after.counts == [0, 0, 0]
        assert after.rounds.selection.keep is None
        assert after.arrived == BUDGET.total


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": [2, 2, 2]}, "but the budget is 18"),
        ({"counts": [6, 6, 6.0]}, "a list of int was expected"),
        ({"uids": ["7-0", "7-1", "8-2"]}, "a prompt occurs twice"),
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


# What a session does with the batches that `colocate_async` samples ahead.


def plan_ahead(session, step, *batches):
    """Plan batches of four prompts whose uids are told by the batch."""
    uids = [f"{uid}{batch}" for batch in batches for uid in UIDS]
    messages = MESSAGES * len(batches)
    return session.plan(step=step, uids=uids, messages=messages, labels=["add"] * len(uids))


def take(session, counts, earned, step):
    found = rollouts(counts, earned)
    return finish(session, dataclasses.replace(found, uids=[f"{uid}{step}" for uid in found.uids]), step)


def test_batches_sampled_ahead_are_planned_one_by_one_and_taken_in_order(settings):
    session = started(ahead(settings, 2))
    counts = plan_ahead(session, 1, 1, 2)
    assert [sum(counts[:4]), sum(counts[4:])] == [32, 32]
    plan_ahead(session, 1, 3)
    assert session.training_step(1).uids == ["a1", "b1", "c1", "d1"]
    with pytest.raises(IntegrationError, match="4 prompts that were not planned"):
        session.training_step(1).receive(Rollouts([f"{uid}2" for uid in UIDS], [0.0] * 4, [5] * 4))
    take(session, [8] * 4, [0, 8, 4, 4], step=1)
    informed = plan_ahead(session, 2, 4)
    assert sum(informed) == 32
    assert min(informed[2:]) > max(informed[:2])
    for step, asked in ((2, [8] * 4), (3, [8] * 4), (4, informed)):
        take(session, asked, [0, 0, 0, 0], step=step)
    told = read_run(settings.records_path).steps
    assert [step.requested for step in told] == [[8] * 4] * 3 + [informed]
    assert [step.budget for step in told] == [32] * 4


def interrupted(settings):
    """A session whose checkpoint of step 2 has the batch of step 3 in flight; returns the counts of that batch too."""
    session = started(ahead(settings))
    plan_ahead(session, 1, 1)
    for step in (1, 2):
        asked = plan_ahead(session, step, step + 1)
        current = [session.state.plans.counts[uid] for uid in session.training_step(step).uids]
        take(session, current, [0, 8, 4, 4], step=step)
    return dataclasses.replace(ahead(settings), resume_dir=settings.checkpoint_dir / "global_step_2"), asked


def resumed(settings, in_flight, **vip):
    session = Session(dataclasses.replace(settings, vip=dataclasses.replace(settings.vip, **vip)))
    session.restore()
    session.start(in_flight=in_flight)
    return session


IN_FLIGHT = [f"{uid}3" for uid in UIDS]


def test_prompts_in_flight_at_a_checkpoint_keep_their_counts(settings):
    resuming, asked = interrupted(settings)
    assert len(set(asked)) > 1
    session = resumed(resuming, IN_FLIGHT)
    # Only those that were not finished are submitted again, in whatever order.
    again = session.plan(step=3, uids=["d3", "b3"], messages=[None, None], labels=["", ""])
    assert again == [asked[3], asked[1]]
    assert len(session.state.plans) == 1
    assert sum(plan_ahead(session, 3, 4)) == 32
    take(session, asked, [0, 2, 1, 1], step=3)
    assert read_run(settings.records_path).steps[-1].requested == asked


def test_the_strategy_may_change_with_prompts_in_flight(settings):
    resuming, asked = interrupted(settings)
    session = resumed(resuming, IN_FLIGHT, strategy="uniform")
    assert plan_ahead(session, 3, 4) == [8] * 4
    take(session, asked, [0, 2, 1, 1], step=3)
    take(session, [8] * 4, [0, 2, 1, 1], step=4)
    assert [step.strategy for step in read_run(settings.records_path).steps] == ["vip"] * 3 + ["uniform"]


def test_prompts_in_flight_that_verl_dropped_are_told_and_forgotten(settings, caplog):
    resuming, _ = interrupted(settings)
    session = resumed(dataclasses.replace(resuming, batches_ahead=0), ())
    assert "did not restore the 4 prompts that were in flight" in caplog.text
    assert sum(plan_ahead(session, 3, 9)) == 32
    assert session.training_step(3).uids == ["a9", "b9", "c9", "d9"]


@pytest.mark.parametrize(
    ("change", "in_flight", "message"),
    [
        ({}, ["a3", "x"], "has 2 prompts in flight, and the predictor's state has counts for 1 of them; delete"),
        (
            {"prompts_per_step": 8},
            IN_FLIGHT,
            r"batches in flight \(1, of 4 prompts for 32 rollouts\), and the run has 1 of 8 prompts for 32; set data\.",
        ),
        (
            {"batches_ahead": 0},
            IN_FLIGHT,
            r"and trainer\.v1\.colocate_async\.num_warmup_batches as they were, or delete",
        ),
    ],
)
def test_prompts_in_flight_that_cannot_be_taken_are_refused(settings, change, in_flight, message):
    resuming, _ = interrupted(settings)
    with pytest.raises(ConfigError, match=message) as caught:
        resumed(dataclasses.replace(resuming, **change), in_flight)
    assert f"delete {resuming.resume_dir}/transfer_queue, which skips these prompts." in str(caught.value)


def test_prompts_in_flight_without_a_state_are_refused_even_where_a_fresh_predictor_is_asked_for(settings):
    resuming, _ = interrupted(settings)
    (resuming.resume_dir / STATE_FILE).unlink()
    with pytest.raises(ConfigError, match="has counts for 0 of them; delete"):
        resumed(resuming, IN_FLIGHT, on_missing_state="fresh")
    assert sum(plan_ahead(resumed(resuming, (), on_missing_state="fresh"), 3, 3)) == 32
