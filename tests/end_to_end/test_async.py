"""verl's `colocate_async` trainer samples a batch ahead, is killed, and goes on, with every step's budget kept."""

import re

import pytest

from verl_vip.records.records import read_run
from verl_vip.state_file import read_state
from verl_vip.workers.session.run_state import STATE_FILE

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(2400)]

BUDGET = 8 * 8


@pytest.fixture(scope="module")
def interrupted(launcher):
    """A run killed with SIGKILL after its checkpoint of step 2, the state in it, and its continuation to step 4."""
    settings = [
        "trainer.v1.trainer_mode=colocate_async",
        "trainer.total_training_steps=4",
        "trainer.save_freq=2",
        "trainer.val_before_train=False",
        "trainer.test_freq=3",
    ]
    first = launcher.start("async", *settings)
    try:
        first.wait_for(first.has_saved)
    finally:
        first.kill()
    before = read_run(first.folder)
    state = read_state(first.folder / "global_step_2" / STATE_FILE)
    return before, state, launcher.run("async", *settings)


def test_every_step_takes_what_was_planned_for_it_and_spends_the_budget_exactly(interrupted):
    _, _, run = interrupted
    steps = run.records.steps
    assert [step.step for step in steps] == [1, 2, 3, 4]
    for step in steps:
        assert len(step.ids) == 8
        assert step.requested == step.observed
        assert sum(step.observed) == step.budget == BUDGET
        assert all(3 <= count <= 16 for count in step.requested)
    assert steps[-1].rollouts_total == 4 * BUDGET
    # Step 2 may be missing: the first process was killed as soon as its checkpoint was marked.
    logged = {step: line for step, line in re.findall(r"step:(\d+) - (.*)", run.text) if "vip/budget" in line}
    assert set(logged) >= {"1", "3", "4"}
    assert all(f"vip/rollouts/observed:{float(BUDGET)} " in line for line in logged.values())


def test_counts_are_planned_one_update_ahead(interrupted):
    _, _, run = interrupted
    first, second, third, fourth = run.records.steps
    # The first two batches were submitted before anything had been observed.
    assert len(set(first.predicted)) == len(set(second.predicted)) == 1
    assert set(first.requested) == set(second.requested) == {8}
    assert len(set(third.predicted)) > 1
    assert any(len(set(step.requested)) > 1 for step in (third, fourth))
    # verl's own measure: rollouts begun by the policy of the step before, and none by an older one.
    assert "training/off_policy/trajectory_staleness_worst/max:np.int64(1) " in run.text
    assert "training/off_policy/trajectory_staleness_worst/max:np.int64(2) " not in run.text


def test_the_batch_in_flight_at_the_checkpoint_keeps_its_prompts_and_counts(interrupted):
    before, state, run = interrupted
    (plan,) = state["plans"]
    assert plan["step"] == 3
    assert sum(plan["counts"]) == BUDGET
    assert [header.resumed_from for header in run.records.headers] == [None, 2]
    assert run.records.steps[:2] == before.steps[:2]
    third = run.records.steps[2]
    assert (third.ids, third.requested) == (plan["ids"], plan["counts"])
    # Nothing is skipped or taken twice: the demo's prompts are all different.
    taken = [prompt for step in run.records.steps for prompt in step.ids]
    assert len(set(taken)) == len(taken)
    (waiting,) = read_state(run.folder / "global_step_4" / STATE_FILE)["plans"]
    assert waiting["step"] == 5
    assert not set(waiting["ids"]) & set(taken)


def test_validation_while_training_rollouts_are_in_flight_is_told_apart(interrupted):
    _, _, run = interrupted
    assert [check.step for check in run.records.validations] == [3, 4]
    assert all(sum(check.count.values()) > 100 for check in run.records.validations)
