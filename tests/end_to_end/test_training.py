"""Stock verl trains real steps through our hooks, is killed, and goes on."""

import re

import pytest
import torch

from verl_vip.state_file import read_state
from verl_vip.workers.session.run_state import STATE_FILE

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

BUDGET = 8 * 8


def test_every_step_spends_the_budget_exactly_as_requested(killed_and_resumed):
    _, _, run = killed_and_resumed
    steps = run.records.steps
    assert [step.step for step in steps] == [1, 2, 3, 4]
    for step in steps:
        assert step.requested == step.observed
        assert sum(step.observed) == step.budget == BUDGET
        assert all(3 <= count <= 16 for count in step.requested)
    assert steps[-1].rollouts_total == 4 * BUDGET


def test_verls_own_log_has_the_budget_of_every_step(killed_and_resumed):
    _, _, run = killed_and_resumed
    # Step 2 may be missing: the first process was killed as soon as its checkpoint was marked.
    logged = {step: line for step, line in re.findall(r"step:(\d+) - (.*)", run.text) if "vip/budget" in line}
    assert set(logged) >= {"1", "3", "4"}
    for line in logged.values():
        assert f"vip/budget:{float(BUDGET)} " in line
        assert f"vip/rollouts/observed:{float(BUDGET)} " in line


def test_counts_differ_and_follow_the_prediction(killed_and_resumed):
    _, _, run = killed_and_resumed
    informed = [step for step in run.records.steps if len(set(step.predicted)) > 1]
    assert informed, "the predictor told no two prompts apart"
    assert any(len(set(step.requested)) > 1 for step in informed)
    for step in informed:
        moments = zip(step.predicted, step.predicted_variance, step.requested, strict=True)
        ranked = sorted((mean * (1 - mean) - variance, count) for mean, variance, count in moments)
        counts = [count for _, count in ranked]
        assert counts == sorted(counts)


def test_the_continuation_starts_from_the_checkpoint_with_the_predictors_state(killed_and_resumed):
    before, state, run = killed_and_resumed
    assert state["step"] == 2
    assert state["rollouts_total"] == 2 * BUDGET
    after = run.records
    assert [header.resumed_from for header in after.headers] == [None, 2]
    assert after.steps[:2] == before.steps[:2]
    assert "resumed after step 2 with the predictor's state" in run.text
    restored = read_state(run.folder / "global_step_4" / STATE_FILE)
    assert restored["rollouts_total"] == 4 * BUDGET
    known = {prompt for step in after.steps for prompt in step.ids}
    assert predictor_ids(restored) >= known


def test_the_continuation_asks_for_what_an_uninterrupted_run_asks_for(killed_and_resumed, uninterrupted):
    _, _, run = killed_and_resumed
    for resumed, straight in zip(run.records.steps, uninterrupted.records.steps, strict=True):
        assert resumed.ids == straight.ids
        assert resumed.requested == straight.requested
        assert resumed.successes == straight.successes
        assert resumed.predicted == pytest.approx(straight.predicted, abs=1e-9)


def predictor_ids(state) -> set[str]:
    found: set[str] = set()

    def collect(value):
        if isinstance(value, dict):
            for key, item in value.items():
                found.add(str(key))
                collect(item)
        elif isinstance(value, list | tuple):
            for item in value:
                collect(item)
        elif isinstance(value, str):
            found.add(value)
        else:
            assert isinstance(value, torch.Tensor | int | float | bool | type(None))

    collect(state)
    return found


def test_validation_is_recorded_and_taught_to_nobody(killed_and_resumed):
    _, _, run = killed_and_resumed
    checks = run.records.validations
    assert checks[0].step == 0
    assert sum(checks[0].count.values()) > 100
    assert all(0 <= check.accuracy <= 1 for check in checks)
