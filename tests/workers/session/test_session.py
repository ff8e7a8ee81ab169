"""One training step of the session, without verl's processes."""

import dataclasses
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

from verl_vip.errors import ConfigError, InfeasibleBudgetError, IntegrationError, InvalidInputError
from verl_vip.records.records import read_run
from verl_vip.state_file import read_state, write_state
from verl_vip.strategies.registry import STRATEGIES, build_strategy
from verl_vip.workers.session.outcomes import Rollouts
from verl_vip.workers.session.run_state import STATE_FILE
from verl_vip.workers.session.session import Session
from verl_vip.workers.settings.run_settings import RunSettings

UIDS = ["a", "b", "c", "d"]
MESSAGES = [[{"role": "user", "content": f"Add {number} and {number}"}] for number in range(4)]


def demo_settings(folder, *overrides):
    with initialize_config_module("verl_vip.recipes", version_base=None):
        config = compose(
            "demo",
            overrides=[
                f"demo_dir={folder}",
                "data.train_batch_size=4",
                "vip.lower=2",
                "vip.upper=12",
                "vip.predictor=beta_table",
                "trainer.save_freq=2",
                *overrides,
            ],
        )
    return RunSettings.from_verl(config)


@pytest.fixture
def settings(tmp_path):
    return demo_settings(tmp_path)


def started(settings, **vip):
    session = Session(dataclasses.replace(settings, vip=dataclasses.replace(settings.vip, **vip)))
    session.restore()
    session.start()
    return session


def plan(session, step=1):
    return session.plan(step=step, uids=UIDS, messages=MESSAGES, labels=["add"] * 4)


def rollouts(counts, earned):
    """Rows of rewards: each prompt's first rollouts earn 1, as many as given."""
    uids = [uid for uid, count in zip(UIDS, counts, strict=True) for _ in range(count)]
    rewards = [float(index < solved) for count, solved in zip(counts, earned, strict=True) for index in range(count)]
    return Rollouts(uids, rewards, [5] * len(uids))


def observe(session, counts, earned, step=1):
    return finish(session, rollouts(counts, earned), step)


def finish(session, found, step=1):
    assert session.receive(step=step, rollouts=found) == {}
    return session.observe(step)


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


def test_state_is_written_before_a_checkpoint_is_marked_and_restored_exactly(settings):
    session = started(settings)
    observe(session, plan(session), [0, 8, 4, 4])
    folder = settings.checkpoint_dir / "global_step_2"
    assert not folder.exists()
    observe(session, plan(session, 2), [1, 2, 3, 4], step=2)
    assert read_state(folder / STATE_FILE)["step"] == 2
    resumed = started(dataclasses.replace(settings, resume_dir=folder))
    assert resumed.state.rollouts_total == 64
    assert plan(resumed, 3) == plan(session, 3)


def damaged(state, content):
    content = bytearray(content)
    content[-10] ^= 1
    return bytes(content)


def of_a_later_format(state, content):
    return content.replace(b"verl-vip state 1", b"verl-vip state 7")


def of_another_step(state, content):
    return packed({**state, "step": 1})


def without_its_strategy(state, content):
    return packed({key: value for key, value in state.items() if key != "strategy"})


def with_a_broken_strategy(state, content):
    # The predictor is read before the strategy fails, and must not stay.
    return packed({**state, "strategy": {"no": "such thing"}})


def packed(state):
    with tempfile.TemporaryDirectory() as folder:
        write_state(Path(folder) / "state", state)
        return (Path(folder) / "state").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, r"vip_state\.pt does not exist"),
        (lambda state, content: b"something else", r"vip_state\.pt is not a state file of verl-vip"),
        (damaged, r"vip_state\.pt is damaged"),
        (of_a_later_format, r"vip_state\.pt was written by another version"),
        (of_another_step, r"vip_state\.pt is the state after step 1 and does not belong there"),
        (without_its_strategy, r"vip_state\.pt is not the state of a run: it lacks strategy"),
        (with_a_broken_strategy, "has no state, and this one holds no"),
    ],
)
def test_an_unusable_state_is_an_error_unless_a_fresh_predictor_is_asked_for(settings, change, message):
    session = started(settings)
    for step in (1, 2):
        observe(session, plan(session, step), [0, 2, 1, 1], step=step)
    folder = settings.checkpoint_dir / "global_step_2"
    path = folder / STATE_FILE
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(read_state(path), path.read_bytes()))
    resuming = dataclasses.replace(settings, resume_dir=folder)
    with pytest.raises(ConfigError, match=message) as caught:
        started(resuming)
    assert str(caught.value).startswith(f"the predictor cannot go on from {folder}: ")
    assert "Set vip.on_missing_state=fresh to continue" in str(caught.value)
    fresh = started(resuming, on_missing_state="fresh")
    assert plan(fresh, 3) == [8, 8, 8, 8]
    assert fresh.state.rollouts_total == 64


def test_a_state_of_another_predictor_is_named(settings):
    session = started(settings)
    observe(session, plan(session), [0, 8, 4, 4])
    folder = settings.checkpoint_dir / "global_step_1"
    session.save(folder, 1)
    with pytest.raises(ConfigError, match=r"state of predictor 'beta_table', and vip.predictor is 'last_seen'"):
        started(dataclasses.replace(settings, resume_dir=folder), predictor="last_seen")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"embedding_model": "someone/of-equal-width"},
            r"embedding_model=\S*MiniLM\S*, and it is now someone--of-equal",
        ),
        ({"reward_range": (-1.0, 1.0)}, r"reward_range=\[0\.0, 1\.0\], and it is now \[-1\.0, 1\.0\]"),
        (
            {"reward_range_by_source": {"add": (0.0, 2.0)}},
            r"by_source=\{'add': \[0\.0, 1\.0\]\}, and it is now \{'add': \[0",
        ),
        ({"reward_range_by_source": {}}, r"by_source=\{'add': \[0\.0, 1\.0\]\}, and it is now \{\}"),
        ({"identity_fields": ("extra_info.x",)}, r"identity_fields=\[\], and it is now \['extra_info\.x'\]"),
    ],
)
def test_what_was_learned_means_nothing_to_another_model_or_range(settings, change, message):
    change = {"reward_range_by_source": {"add": (0.0, 1.0)}, **change}
    session = started(settings, reward_range_by_source={"add": (0.0, 1.0)})
    for step in (1, 2):
        observe(session, plan(session, step), [0, 8, 4, 4], step=step)
    changed = dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_2")
    with pytest.raises(ConfigError, match=message) as caught:
        started(changed, **change)
    assert "Set vip.on_missing_state=fresh" in str(caught.value)
    fresh = started(changed, on_missing_state="fresh", **change)
    assert fresh.state.predictor.metrics()["known_prompts"] == 0
    assert fresh.state.rollouts_total == 64
    fresh.save(settings.checkpoint_dir / "global_step_3", 3)
    following = dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_3")
    assert started(following, **change).state.rollouts_total == 64
    change["reward_range_by_source"] = {**change["reward_range_by_source"], "later": (0.0, 4.0)}
    assert started(following, **change).state.rollouts_total == 64


OPEN_SESSION = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_session import Session, demo_settings
from verl_vip.errors import ConfigError
try:
    session = Session(demo_settings(Path(sys.argv[2])))
except ConfigError as error:
    print(">", error, flush=True)
else:
    print("> open", flush=True)
    time.sleep(100)
"""


def test_a_folder_has_one_training_at_a_time(settings, tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", OPEN_SESSION, str(Path(__file__).parent), str(tmp_path)]
    first, second = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        said = {process: next(line for line in process.stdout if line[0] == ">") for process in (first, second)}
        (opened,) = (process for process, line in said.items() if line == "> open\n")
        (refused,) = (process for process in said if process is not opened)
        sentence = f"another process is at the training in {settings.checkpoint_dir}; wait for it or stop it."
        assert said[refused] == f"> {sentence}\n"
        with pytest.raises(ConfigError, match="another process is at the training in"):
            Session(settings)
        opened.kill()
        opened.wait(timeout=30)
        started(settings)
    finally:
        for process in (first, second):
            process.kill()
            process.communicate(timeout=30)


def test_a_run_that_starts_over_keeps_the_records_of_the_one_before(settings, caplog):
    session = started(settings)
    for step in (1, 2, 3):
        observe(session, plan(session, step), [0, 8, 4, 4], step=step)
    before = settings.records_path.read_bytes()
    again = started(settings)
    beside = settings.checkpoint_dir / "vip_records.1.jsonl"
    assert beside.read_bytes() == before
    assert f"are in {beside} now" in caplog.text
    observe(again, plan(again), [0, 8, 4, 4])
    assert [step.step for step in read_run(settings.records_path).steps] == [1]


def test_a_run_that_goes_on_keeps_the_records_of_the_steps_it_takes_again(settings):
    session = started(settings)
    for step in (1, 2, 3):
        observe(session, plan(session, step), [0, 8, 4, 4], step=step)
    third = read_run(settings.records_path).steps[-1]
    resumed = started(dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_2"))
    observe(resumed, plan(resumed, 3), [8, 8, 8, 8], step=3)
    assert read_run(settings.checkpoint_dir / "vip_records.1.jsonl").steps == (third,)
    assert len(read_run(settings.records_path).steps) == 3


def test_the_last_steps_state_is_there_before_verl_marks_its_checkpoint(settings):
    session = Session(settings)
    session.start(last_step=1)
    observe(session, plan(session), [0, 8, 4, 4])
    assert read_state(settings.checkpoint_dir / "global_step_1" / STATE_FILE)["step"] == 1


def test_a_mark_that_verl_did_not_finish_is_named(settings, tmp_path):
    settings.checkpoint_dir.mkdir(parents=True)
    (settings.checkpoint_dir / "latest_checkpointed_iteration.txt").write_text("")
    with pytest.raises(ConfigError, match=r"latest_checkpointed_iteration\.txt holds no step number; write the step"):
        demo_settings(tmp_path)


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


def test_prompts_without_a_word_are_planned_and_learned_from_like_others(settings):
    session = started(settings, predictor="drifting_gp")
    messages = [MESSAGES[0], [], [{"role": "assistant", "content": None, "tool_calls": [{"id": "f"}]}], MESSAGES[1]]
    for step in range(1, 6):
        counts = session.plan(step=step, uids=UIDS, messages=messages, labels=["add"] * 4)
        observe(session, counts, [counts[0], 0, counts[2], 0], step=step)
    prediction = session.planner.plan(session.state, step=6, uids=UIDS, messages=messages, labels=[""] * 4).prediction
    assert prediction.mean[1] < 0.2
    assert prediction.mean[2] > 0.8


def test_an_empty_batch_is_named(settings):
    with pytest.raises(IntegrationError, match=r"an empty batch at step 1; check data\.train_files"):
        started(settings).plan(step=1, uids=[], messages=[], labels=[])


def test_rewards_outside_the_range_are_refused_with_what_to_set(settings):
    session = started(settings)
    plan(session)
    with pytest.raises(
        InvalidInputError, match=r"source 'add' earned -1.0, outside its range \[0.0, 1.0\]; set vip.rew"
    ):
        session.receive(step=1, rollouts=Rollouts(["a"], [-1.0], [5]))


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
    assert session.receive(step=1, rollouts=dataclasses.replace(found, rewards=rewards)) == {}
    assert session.select(1) is None
    assert session.update_terms.reward_range.tolist() == [[-1, 1], [0, 1], [-1, 1], [0, 1]]
    session.observe(1)
    (step,) = read_run(settings.records_path).steps
    assert step.successes == [4.0, 4.0, 0.0, 0.0]
    session.plan(step=2, uids=UIDS, messages=MESSAGES, labels=labels)
    with pytest.raises(InvalidInputError, match=r"data source 'sort' earned -1.0, outside its range \[0.0, 1.0\]"):
        session.receive(step=2, rollouts=Rollouts(["b"], [-1.0], [5]))


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
    with pytest.raises(IntegrationError, match="step 1 arrived without a plan"):
        session.receive(step=1, rollouts=Rollouts(["a"], [1.0], [5]))
    plan(session)
    with pytest.raises(IntegrationError, match="1 prompts that were not planned"):
        session.receive(step=1, rollouts=Rollouts(["a", "z"], [1.0, 0.0], [5, 5]))


def test_validation_counts_problems_and_teaches_nobody(settings):
    session = started(settings)
    before = plan(session)
    session.expect_validation(["v", "w"], ["add", "sort"], [2, 2])
    session.observe_validation(step=0, rollouts=Rollouts(["v", "v", "w", "w"], [1.0, 0.0, 1.0, 1.0], [5] * 4))
    (check,) = read_run(settings.records_path).validations
    assert (check.correct, check.count) == ({"add": 0.5, "sort": 1.0}, {"add": 1, "sort": 1})
    assert plan(session) == before


def test_no_validation_reward_ends_the_run(settings, caplog):
    session = started(settings)
    earned = [("gsm8k", 0.0), ("gsm8k", 1.0), ("aime", -1.0), ("aime", 1.0), ("judge", 7.5), ("judge", math.nan)]
    for step in (0, 1):
        session.expect_validation([f"v{row}" for row in range(6)], [source for source, _ in earned], [1] * 6)
        found = Rollouts([f"v{row}" for row in range(6)], [reward for _, reward in earned], [5] * 6)
        session.observe_validation(step=step, rollouts=found)
    for check in read_run(settings.records_path).validations:
        assert check.correct == {"gsm8k": 1.0, "aime": 1.0, "judge": 1.0}
    assert caplog.text.count("validation rewards of data source 'aime' go from -1 to 1, outside") == 1


def test_a_strategy_that_wants_a_pool_says_how_to_offer_one(settings):
    with pytest.raises(ConfigError, match=r"set data.train_batch_size=64, vip.budget=32 and .*ppo_mini_batch_size=4"):
        started(settings, strategy="mopps")


def test_a_pool_is_chosen_from_within_the_budget(settings):
    pool = dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, total=16))
    session = started(pool, strategy="mopps", budget=16)
    counts = plan(session)
    assert sorted(counts) == [0, 0, 8, 8]
    observe(session, counts, [0, 0, 0, 0])
    (step,) = read_run(settings.records_path).steps
    assert (step.budget, step.requested, step.observed, step.kept) == (16, counts, counts, None)


def test_bounds_that_cannot_hold_the_budget_are_refused_at_the_start(settings):
    with pytest.raises(InfeasibleBudgetError, match="4 prompts with 9 to 12 rollouts each"):
        started(dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, lower=9)))


def test_rounds_follow_the_rewards_and_only_what_is_kept_is_trained_on(settings):
    pilots = {"pilot": 2, "commit": 6, "lowest": 0.1}
    session = started(settings, strategy="pilot_commit", strategy_settings=pilots, budget=32)
    pilot = plan(session)
    assert pilot == [2, 2, 2, 2]
    assert session.receive(step=1, rollouts=rollouts(pilot, [0, 1, 1, 2])) == {"b": 6, "c": 6}
    assert session.receive(step=1, rollouts=rollouts([0, 6, 6, 0], [0, 3, 6, 0])) == {}
    assert session.select(1) == {"a": [], "b": list(range(8)), "c": list(range(8)), "d": []}
    metrics = session.observe(1)
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
    while further:
        uids = [uid for uid, count in further.items() for _ in range(count)]
        found = Rollouts(uids, [0.0] * len(uids), [5] * len(uids))
        further = session.receive(step=1, rollouts=found)
    kept = session.select(1)
    assert kept == {"a": list(range(8)), "b": [], "c": [], "d": []}
    assert set(session.update_terms.weight.tolist()) == {0.0}
    session.observe(1)
    (step,) = read_run(settings.records_path).steps
    assert step.kept == [8, 0, 0, 0]


def may_start(settings, name, **strategy_settings):
    try:
        started(settings, strategy=name, strategy_settings=strategy_settings, budget=32)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_what_the_update_cannot_follow_is_refused_before_anything_is_sampled(settings, name):
    needs = build_strategy(name, "rloo").weighs
    assert may_start(settings, name) is None
    refused = may_start(dataclasses.replace(settings, weighs_rows=False), name)
    assert ("set algorithm.adv_estimator=vip_rloo" in (refused or "")) == bool(needs)
    refused = may_start(dataclasses.replace(settings, kl_in_reward=True), name)
    assert ("set algorithm.use_kl_in_reward=False" in (refused or "")) == bool(needs & {"rollout_weight", "baseline"})


def test_what_is_refused_follows_the_strategys_settings(settings):
    settings = dataclasses.replace(settings, weighs_rows=False)
    assert may_start(settings, "prioritized") is None
    assert "weighs what it trains on" in may_start(settings, "prioritized", correction=1.0)


def test_a_further_round_without_a_manager_names_the_setting(settings):
    with pytest.raises(IntegrationError, match="agent_loop_manager_class"):
        started(settings).sample_further({"a": 2}, 2)


def test_a_strategys_own_state_is_resumed(settings):
    session = started(settings, strategy="random_permutation")
    for step in (1, 2):
        observe(session, plan(session, step), [0, 2, 1, 2], step=step)
    resumed = started(
        dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_2"),
        strategy="random_permutation",
    )
    for step in (3, 4):
        counts = plan(resumed, step)
        assert counts == plan(session, step)
        observe(resumed, counts, [0, 2, 1, 2], step=step)
        observe(session, counts, [0, 2, 1, 2], step=step)


def test_the_policy_itself_can_embed_prompts(tmp_path):
    with initialize_config_module("verl_vip.recipes", version_base=None):
        config = compose(
            "demo", overrides=[f"demo_dir={tmp_path}", "vip.embedding_model=${actor_rollout_ref.model.path}"]
        )
    vip = RunSettings.from_verl(config).vip
    assert vip.embedding_model == config.actor_rollout_ref.model.path == f"{tmp_path}/model"


def ahead(settings, batches=1):
    return dataclasses.replace(settings, batches_ahead=batches)


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
    assert session.planned_uids(1) == ["a1", "b1", "c1", "d1"]
    with pytest.raises(IntegrationError, match="4 prompts that were not planned"):
        session.receive(step=1, rollouts=Rollouts([f"{uid}2" for uid in UIDS], [0.0] * 4, [5] * 4))
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
        current = [session.state.plans.counts[uid] for uid in session.planned_uids(step)]
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
    assert session.planned_uids(3) == ["a9", "b9", "c9", "d9"]


@pytest.mark.parametrize(
    ("change", "in_flight", "message"),
    [
        ({}, ["a3", "x"], "holds 2 prompts in flight, and the predictor's state has counts for 1 of them; delete"),
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


@pytest.mark.parametrize("strategy", ["pods", "pilot_commit", "greso", "prioritized"])
def test_strategies_that_choose_or_wait_for_rewards_are_refused_ahead(settings, strategy):
    with pytest.raises(ConfigError, match=r"set trainer\.v1\.trainer_mode=sync, or vip\.strategy=vip"):
        started(ahead(settings), strategy=strategy, budget=32)
    started(settings, strategy=strategy, budget=32)


def ended(folder, *overrides):
    """The settings of a further start of a run that has taken and saved two steps, the second its last."""
    first = demo_settings(folder, "trainer.total_training_steps=2")
    session = started(first)
    for step in (1, 2):
        observe(session, plan(session, step), [0, 2, 1, 2], step=step)
    (folder / "vip" / "latest_checkpointed_iteration.txt").write_text("2")
    return demo_settings(folder, *overrides)


def test_a_finished_run_with_other_settings_is_refused_before_anything_is_loaded(tmp_path):
    again = ended(tmp_path, "trainer.total_training_steps=2", "data.seed=7", "actor_rollout_ref.actor.optim.lr=1e-5")
    before = again.records_path.read_bytes()
    with pytest.raises(ConfigError, match=r"finished \(step 2 of 2\), with other settings: ") as refused:
        Session(again).restore()
    told = "actor_rollout_ref.actor.optim.lr was 0.0003 and is 1e-05 now; data.seed was 1 and is 7 now."
    assert told in str(refused.value)
    assert again.records_path.read_bytes() == before


def test_where_only_verl_knows_the_last_step_it_is_refused_when_verl_has_said_it(tmp_path):
    again = ended(tmp_path, "trainer.total_training_steps=null", "trainer.total_epochs=1", "data.seed=7")
    session = Session(again)
    session.restore()
    before = again.records_path.read_bytes()
    with pytest.raises(ConfigError, match=r"finished \(step 2 of 2\).* data\.seed was 1 and is 7 now"):
        session.start(last_step=2)
    assert again.records_path.read_bytes() == before
    session.start(last_step=3)


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.total_training_steps=3"],
        ["trainer.total_training_steps=3", "data.seed=7"],
        ["trainer.total_training_steps=2"],
        ["trainer.total_training_steps=2", "data.seed=7", "trainer.val_only=true"],
    ],
)
def test_more_steps_the_same_settings_and_a_validation_go_on_and_each_start_keeps_its_settings(tmp_path, overrides):
    again = ended(tmp_path, *overrides)
    session = Session(again)
    session.restore()
    session.start(last_step=again.last_step)
    headers = read_run(again.records_path).headers
    seeds = [header.config["data.seed"] for header in headers]
    assert seeds == [1, 7 if "data.seed=7" in overrides else 1]
    assert [header.resumed_from for header in headers] == [None, 2]
