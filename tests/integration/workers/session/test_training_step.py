"""One training step of a session, without verl's processes."""

import dataclasses
import math
import re

import hypothesis
import pytest
import torch
from fixtures.sessions import MESSAGES, UIDS, ahead, demo_settings, finish, observe, plan, rollouts, started
from hypothesis import strategies as st

from verl_vip.errors import IntegrationError, InvalidInputError
from verl_vip.records.records import read_run
from verl_vip.workers.session.outcomes import Rollouts


def test_counts_are_even_before_anything_is_known_and_follow_what_was_seen(settings):
    session = started(settings)
    first = plan(session)
    assert first == [8, 8, 8, 8]
    metrics = observe(session, first, [0, 8, 4, 4])
    assert metrics["vip/budget"] == metrics["vip/rollouts/observed"] == 32
    assert metrics["vip/groups/without_signal"] == 0.5
    second = plan(session, step=2)
    assert sum(second) == 32
    assert min(second[2], second[3]) > max(second[0], second[1])
    assert min(second) >= 2


def test_uniform_ignores_what_was_seen(settings):
    session = started(settings, strategy="uniform")
    observe(session, plan(session), [0, 8, 4, 4])
    assert plan(session, step=2) == [8, 8, 8, 8]


def test_records_tell_the_whole_step(settings):
    session = started(settings)
    observe(session, plan(session), [0, 8, 4, 4])
    run = read_run(settings.records_path)
    assert run.headers[0].budget == 32
    (step,) = run.steps
    assert step.requested == step.observed == [8, 8, 8, 8]
    assert step.successes == [0.0, 8.0, 4.0, 4.0]
    assert step.predicted == [0.5] * 4
    assert step.tokens == [40] * 4
    assert set(step.seconds) == {"embed", "predict", "allocate", "collect", "observe"}


def test_ignored_counts_stop_the_run(settings):
    session = started(settings)
    observe(session, plan(session), [0, 8, 4, 4])
    asked = plan(session, 2)
    assert len(set(asked)) > 1
    with pytest.raises(IntegrationError, match="sampled 8 rollouts for every prompt of step 2 and ignored"):
        observe(session, [8, 8, 8, 8], [0, 0, 0, 0], step=2)


def test_failed_rollouts_are_told_and_left_out(settings, caplog):
    session = started(settings)
    plan(session)
    metrics = observe(session, [7, 8, 8, 0], [0, 8, 4, 0])
    assert "2 of 4 prompts returned another number of rollouts than requested, and 1 returned none" in caplog.text
    (step,) = read_run(settings.records_path).steps
    assert step.observed == [7, 8, 8, 0]
    assert step.rollouts_total == 23
    assert metrics["vip/rollouts/missing"] == 9
    assert metrics["vip/groups/without_rollouts"] == 0.25
    assert metrics["vip/groups/without_signal"] == pytest.approx(2 / 3)
    # What failed taught nothing: the prompt is predicted as one that was never seen.
    observe(session, plan(session, 2), [0, 2, 1, 1], step=2)
    assert read_run(settings.records_path).steps[1].predicted[3] == 0.5


@pytest.mark.parametrize("predictor", ["beta_table", "gaussian_process", "drifting_gp", "ridge", "last_seen"])
def test_training_goes_on_when_no_rollout_has_a_reward(settings, predictor, caplog):
    session = started(settings, predictor=predictor)
    counts = plan(session)
    uids = rollouts(counts, [0] * 4).uids
    metrics = finish(session, Rollouts(uids, [math.nan] * 32, [5] * 32))
    assert "the rewards of 32 rollouts of 4 prompts are not finite numbers" in caplog.text
    assert metrics["vip/rollouts/missing"] == 32
    assert "vip/predictor/brier" not in metrics
    assert plan(session, 2) == counts
    assert observe(session, counts, [0, 8, 4, 4], step=2)["vip/rollouts/missing"] == 0
    assert [step.observed for step in read_run(settings.records_path).steps] == [[0] * 4, [8] * 4]


def test_repeated_prompts_share_what_they_earn_and_the_user_is_told_once(settings, caplog):
    session = started(settings)
    twice = [MESSAGES[0], MESSAGES[0], MESSAGES[1], MESSAGES[2]]
    for step in (1, 2):
        counts = session.plan(step=step, uids=UIDS, messages=twice, labels=["add"] * 4)
        assert sum(counts) == 32
        metrics = observe(session, counts, [0, counts[1], 4, 4], step=step)
        assert metrics["vip/prompts/repeated"] == 1
    assert caplog.text.count("1 of 4 prompts repeat another prompt of the batch") == 1
    last = read_run(settings.records_path).steps[-1]
    assert last.ids[0] == last.ids[1] != last.ids[2]
    # One of the two failed always, the other never.
    assert last.predicted[0] == last.predicted[1] == pytest.approx(0.5)


def test_prompts_of_one_wording_are_told_apart_by_a_field_and_embedded_once(settings):
    session = started(settings, identity_fields=("reward_model.ground_truth",))
    messages = [MESSAGES[0], MESSAGES[0], MESSAGES[0], MESSAGES[1]]
    tasks = [{"reward_model": {"ground_truth": truth}} for truth in ("1", "2", "1", "1")]
    counts = session.plan(step=1, uids=UIDS, messages=messages, labels=["add"] * 4, tasks=tasks)
    observe(session, counts, [0, 8, 0, 4])
    (step,) = read_run(settings.records_path).steps
    assert step.ids[0] == step.ids[2]
    assert len(set(step.ids)) == 3
    plan_again = session.plan(step=2, uids=UIDS, messages=messages, labels=["add"] * 4, tasks=tasks)
    prompts = session.state.plans.head(2).prompts
    assert torch.equal(prompts.embeddings[0], prompts.embeddings[1])
    first, second, third, _ = session.state.plans.head(2).prediction.mean.tolist()
    assert first == third < 0.2
    assert second > 0.8
    assert sum(plan_again) == 32


def test_a_balanced_draw_goes_by_the_field_that_is_named(tmp_path):
    balanced = ("vip.strategy=balanced", "+vip.strategy_settings.group_size=8", "vip.balance_by=extra_info.level")
    session = started(
        demo_settings(tmp_path, *balanced, "vip.budget=16", "actor_rollout_ref.actor.ppo_mini_batch_size=2")
    )
    tasks = [{"extra_info": {"level": level}} for level in (1, 1, 1, 2)]
    for step in range(1, 5):
        counts = session.plan(step=step, uids=UIDS, messages=MESSAGES, labels=["add"] * 4, tasks=tasks)
        assert sorted(counts[:3]) == [0, 0, 8]
        assert counts[3] == 8
        observe(session, counts, [count // 2 for count in counts], step=step)


def test_prompts_without_a_word_are_planned_and_learned_from_like_others(settings):
    session = started(settings, predictor="drifting_gp")
    messages = [MESSAGES[0], [], [{"role": "assistant", "content": None, "tool_calls": [{"id": "f"}]}], MESSAGES[1]]
    for step in range(1, 6):
        counts = session.plan(step=step, uids=UIDS, messages=messages, labels=["add"] * 4)
        observe(session, counts, [counts[0], 0, counts[2], 0], step=step)
    prediction = session.planner.plan(session.state, step=6, uids=UIDS, messages=messages, labels=[""] * 4).prediction
    assert prediction.mean[1] < 0.2
    assert prediction.mean[2] > 0.8


def test_rewards_outside_the_range_are_refused_with_what_to_set(settings):
    session = started(settings)
    plan(session)
    with pytest.raises(
        InvalidInputError, match=r"source 'add' has reward -1.0, outside its range \[0.0, 1.0\]; set vip.rew"
    ):
        session.training_step(1).receive(Rollouts(["a"], [-1.0], [5]))


def test_other_reward_ranges_are_mapped_to_success_shares(settings):
    session = started(settings, reward_range=(-1.0, 1.0))
    found = rollouts(plan(session), [0, 8, 4, 4])
    rewards = [2 * reward - 1 for reward in found.rewards]
    finish(session, dataclasses.replace(found, rewards=rewards))
    (step,) = read_run(settings.records_path).steps
    assert step.successes == [0.0, 8.0, 4.0, 4.0]


def test_sources_on_different_scales_are_learned_allocated_and_updated_each_on_its_own(settings):
    session = started(settings, reward_range=(-1.0, 1.0), reward_range_by_source={"sort": (0.0, 1.0)})
    labels = ["add", "sort", "add", "sort"]
    counts = session.plan(step=1, uids=UIDS, messages=MESSAGES, labels=labels)
    # All are predicted alike: those with twice as much at stake get more.
    assert counts[0] == counts[2] > counts[1] == counts[3]
    found = rollouts(counts, [4, 4, 0, 0])
    wrong = dict(zip(UIDS, [-1.0, 0.0, -1.0, 0.0], strict=True))
    rewards = [reward or wrong[uid] for uid, reward in zip(found.uids, found.rewards, strict=True)]
    taken = session.training_step(1)
    assert taken.receive(dataclasses.replace(found, rewards=rewards)) == {}
    assert taken.select() is None
    assert session.update_terms.reward_range.tolist() == [[-1, 1], [0, 1], [-1, 1], [0, 1]]
    taken.observe()
    (step,) = read_run(settings.records_path).steps
    assert step.successes == [4.0, 4.0, 0.0, 0.0]
    session.plan(step=2, uids=UIDS, messages=MESSAGES, labels=labels)
    with pytest.raises(InvalidInputError, match=r"data source 'sort' has reward -1.0, outside its range \[0.0, 1.0\]"):
        session.training_step(2).receive(Rollouts(["b"], [-1.0], [5]))


def test_counts_are_those_of_one_scale_where_all_prompts_share_it(settings):
    narrow, wide = started(settings), started(settings, reward_range=(-1.0, 1.0))
    everywhere = started(settings, reward_range_by_source={"add": (-1.0, 1.0)})
    for step in (1, 2, 3):
        counts = plan(narrow, step)
        found = rollouts(counts, [0, 1, 2, 2])
        on_both_sides = dataclasses.replace(found, rewards=[2 * reward - 1 for reward in found.rewards])
        assert plan(wide, step) == plan(everywhere, step) == counts
        finish(narrow, found, step)
        finish(wide, on_both_sides, step)
        finish(everywhere, on_both_sides, step)


def test_equal_rewards_between_0_and_1_carry_no_signal(settings):
    session = started(settings)
    found = rollouts(plan(session), [0, 8, 4, 0])
    rewards = [0.1 if uid == "d" else reward for uid, reward in zip(found.uids, found.rewards, strict=True)]
    metrics = finish(session, dataclasses.replace(found, rewards=rewards))
    assert metrics["vip/groups/without_signal"] == 0.75
    (step,) = read_run(settings.records_path).steps
    assert step.varied == [False, False, True, False]


def test_rewards_between_0_and_1_teach_how_little_they_vary(settings):
    session = started(settings, predictor="drifting_gp")
    found = rollouts(plan(session), [4, 4, 4, 4])
    finish(session, dataclasses.replace(found, rewards=[0.5] * len(found.rewards)))
    plan(session, step=2)
    ratio = session.state.predictor.predict(session.state.plans.head(2).prompts).variance_ratio
    assert (ratio < 0.5).all()


def test_strangers_and_unplanned_steps_are_refused(settings):
    session = started(settings)
    with pytest.raises(IntegrationError, match="step 1 has no plan"):
        session.training_step(1)
    plan(session)
    with pytest.raises(IntegrationError, match="1 prompts that were not planned"):
        session.training_step(1).receive(Rollouts(["a", "z"], [1.0, 0.0], [5, 5]))


def test_a_pool_is_chosen_from_within_the_budget(settings):
    pool = dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, total=16))
    session = started(pool, strategy="mopps", budget=16)
    counts = plan(session)
    assert sorted(counts) == [0, 0, 8, 8]
    observe(session, counts, [0, 0, 0, 0])
    (step,) = read_run(settings.records_path).steps
    assert (step.budget, step.requested, step.observed, step.kept) == (16, counts, counts, None)


def test_rounds_follow_the_rewards_and_only_what_is_kept_is_trained_on(settings):
    pilots = {"pilot": 2, "commit": 6, "lowest": 0.1}
    settings = dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, total=24))
    session = started(settings, strategy="pilot_commit", strategy_settings=pilots, budget=24)
    pilot = plan(session)
    assert pilot == [2, 2, 2, 2]
    taken = session.training_step(1)
    assert taken.receive(rollouts(pilot, [0, 1, 1, 2])) == {"b": 6, "c": 6}
    assert taken.receive(rollouts([0, 6, 6, 0], [0, 3, 6, 0])) == {}
    assert taken.select() == {"a": [], "b": list(range(8)), "c": list(range(8)), "d": []}
    metrics = taken.observe()
    (step,) = read_run(settings.records_path).steps
    assert step.requested == step.observed == [2, 8, 8, 2]
    assert step.kept == [0, 8, 8, 0]
    assert (step.rounds, step.spends_all, step.rollouts_total) == (2, False, 20)
    assert step.successes == [0.0, 4.0, 7.0, 2.0]
    assert step.tokens == [10, 40, 40, 10]
    assert metrics["vip/rollouts/observed"] == 20
    assert metrics["vip/rollouts/kept"] == 16
    assert metrics["vip/rounds"] == 2


@pytest.mark.parametrize("weighs_rows", [True, False])
def test_when_nothing_is_kept_a_group_stays_that_teaches_nothing(settings, weighs_rows):
    settings = dataclasses.replace(settings, weighs_rows=weighs_rows)
    session = started(settings, strategy="dapo", strategy_settings={"group_size": 8})
    further = dict(zip(UIDS, plan(session), strict=True))
    taken = session.training_step(1)
    while further:
        uids = [uid for uid, count in further.items() for _ in range(count)]
        found = Rollouts(uids, [0.0] * len(uids), [5] * len(uids))
        further = taken.receive(found)
    kept = taken.select()
    assert kept == {"a": list(range(8)), "b": [], "c": [], "d": []}
    assert set(session.update_terms.weight.tolist()) == {0.0}
    taken.observe()
    (step,) = read_run(settings.records_path).steps
    assert step.kept == [8, 0, 0, 0]


CALLS = ("receive", "select", "observe", "update_terms")


@hypothesis.given(calls=st.lists(st.sampled_from(CALLS), max_size=12))
def test_a_step_takes_its_calls_in_order_and_refuses_any_other_by_name(two_rounds, tmp_path_factory, calls):
    settings = dataclasses.replace(two_rounds, checkpoint_dir=tmp_path_factory.mktemp("run"))
    session = started(settings)
    counts = dict(zip(UIDS, plan(session), strict=True))
    step = session.training_step(1)
    due = ["receive", "receive", "select", "observe"]  # the second round follows, since rewards of the first differ
    for call in calls:
        if call == "update_terms":
            if len(due) > 1:
                with pytest.raises(IntegrationError, match="advantages of training step 1 were requested before its"):
                    session.update_terms  # noqa: B018
            else:
                assert session.update_terms is step.update_terms
            continue
        arguments = (Rollouts(*half_solved(counts)),) if call == "receive" else ()
        if due[:1] != [call]:
            named = f"training step 1: {call}() was called, and {f'{due[0]}() is due' if due else 'it is over'};"
            with pytest.raises(IntegrationError, match=re.escape(named)):
                getattr(step, call)(*arguments)
            continue
        found = getattr(step, call)(*arguments)
        counts = found if call == "receive" else counts
        due = due[1:]
    records = read_run(settings.records_path).steps
    assert len(records) == (not due)
    assert len(session.state.plans) == bool(due)
    assert step.is_over == (not due)


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory):
    settings = demo_settings(tmp_path_factory.mktemp("two_rounds"))
    pilots = {"pilot": 2, "commit": 6, "lowest": 0.1}
    vip = dataclasses.replace(settings.vip, strategy="pilot_commit", strategy_settings=pilots, budget=24)
    return dataclasses.replace(settings, vip=vip, budget=dataclasses.replace(settings.budget, total=24))


def half_solved(counts):
    uids = [uid for uid, count in counts.items() for _ in range(count)]
    return uids, [float(row % 2) for row in range(len(uids))], [5] * len(uids)


def test_the_next_step_waits_until_this_one_was_observed(settings):
    session = started(ahead(settings))
    uids = [f"{uid}{batch}" for batch in (1, 2) for uid in UIDS]
    session.plan(step=1, uids=uids, messages=MESSAGES * 2, labels=["add"] * 8)
    with pytest.raises(IntegrationError, match="requested before any batch was observed"):
        session.update_terms  # noqa: B018
    first = session.training_step(1)
    assert session.training_step(1) is first
    with pytest.raises(IntegrationError, match="step 2 was started before step 1 was observed"):
        session.training_step(2)
    finish(session, Rollouts(*half_solved(dict.fromkeys(uids[:4], 8))))
    assert first.is_over
    assert session.training_step(2).uids == uids[4:]
