"""Strategies that need more than a count a prompt train in stock verl: rounds, a part of the rollouts, a pool."""

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

BUDGET = 8 * 8
POOL = 24


@pytest.fixture(scope="module")
def run(launcher):
    """Two steps of PODS over a batch, and two of Pilot-Commit over a pool of three candidates a prompt."""
    common = ["vip.predictor=beta_table", "trainer.save_freq=2", "trainer.val_before_train=False"]
    launcher.run("rounds", *common, "vip.strategy=pods", "trainer.total_training_steps=2")
    return launcher.run(
        "rounds",
        *common,
        "vip.strategy=pilot_commit",
        "+vip.strategy_settings.pilot=3",
        "+vip.strategy_settings.commit=8",
        "+vip.strategy_settings.lowest=0.0",  # the model is hardly trained: it fails nearly always
        f"data.train_batch_size={POOL}",
        f"vip.budget={BUDGET}",
        "trainer.total_training_steps=4",
    )


def test_pods_trains_on_half_of_what_it_samples(run):
    steps = [step for step in run.records.steps if step.strategy == "pods"]
    assert [step.step for step in steps] == [1, 2]
    for step in steps:
        assert step.requested == step.observed == [8] * 8
        assert step.kept == [4] * 8


def test_pilots_are_followed_by_commits_within_the_budget(run):
    steps = [step for step in run.records.steps if step.strategy == "pilot_commit"]
    assert [step.step for step in steps] == [3, 4]
    for step in steps:
        assert len(step.ids) == POOL
        assert step.requested == step.observed
        assert sum(step.observed) <= step.budget == BUDGET
        assert step.rounds == 2
        # A candidate gets nothing, or a pilot, or a pilot and its commitment; only the latter is trained on.
        assert set(step.observed) <= {0, 3, 3 + 8}
        assert step.kept == [count if count > 3 else 0 for count in step.observed]
        assert any(step.kept)


def test_what_is_sampled_counts_and_not_what_is_kept(run):
    steps = run.records.steps
    assert steps[-1].rollouts_total == sum(sum(step.observed) for step in steps)
    for step in ("3", "4"):
        assert f"step:{step} - " in run.text
    assert "vip/rounds:2.0 " in run.text


def test_a_pool_is_drawn_evenly_over_a_field_of_the_data(launcher):
    run = launcher.run(
        "balanced",
        "vip=balanced",
        "vip.balance_by=extra_info.difficulty",
        "vip.predictor=ridge",
        "vip.covariates=[extra_info.difficulty,data_source]",
        "vip.lower=1",
        "actor_rollout_ref.rollout.n=1",
        f"data.train_batch_size={POOL}",
        "vip.budget=8",
        "trainer.total_training_steps=2",
        "trainer.save_freq=-1",
        "trainer.val_before_train=False",
    )
    assert "labels of the training prompts (vip.balance_by=extra_info.difficulty): '1' " in run.text
    assert "extra_info.difficulty (numbers from 1 to " in run.text
    assert "data_source (" in run.text
    for step in run.records.steps:
        assert len(step.ids) == POOL
        assert step.requested == step.observed
        assert sum(step.observed) == step.budget == 8
