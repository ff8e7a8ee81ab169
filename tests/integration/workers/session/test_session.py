"""The life of a run: start, state, records and validation, without verl's processes."""

import dataclasses
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fixtures import ROOT
from fixtures.sessions import demo_settings, observe, plan, started
from hydra import compose, initialize_config_module

from verl_vip.errors import ConfigError, IntegrationError
from verl_vip.records.records import read_run
from verl_vip.state_file import read_state, write_state
from verl_vip.workers.session.outcomes import Rollouts
from verl_vip.workers.session.run_state import STATE_FILE
from verl_vip.workers.session.session import Session
from verl_vip.workers.settings.run_settings import RunSettings


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
        (of_another_step, r"vip_state\.pt is the state after step 1, which belongs in another folder"),
        (without_its_strategy, r"vip_state\.pt is not the state of a run: it lacks strategy"),
        (with_a_broken_strategy, "has no state, but the saved state holds no"),
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
    assert str(caught.value).startswith(f"the predictor cannot resume from {folder}: ")
    assert "Set vip.on_missing_state=fresh to continue" in str(caught.value)
    fresh = started(resuming, on_missing_state="fresh")
    assert plan(fresh, 3) == [8, 8, 8, 8]
    assert fresh.state.rollouts_total == 64


def test_a_state_of_another_predictor_is_named(settings):
    session = started(settings)
    observe(session, plan(session), [0, 8, 4, 4])
    folder = settings.checkpoint_dir / "global_step_1"
    session.save(folder, 1)
    with pytest.raises(ConfigError, match=r"state of predictor 'beta_table', but vip.predictor is 'last_seen'"):
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
from fixtures.sessions import Session, demo_settings
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
    command = [sys.executable, "-W", "ignore", "-c", OPEN_SESSION, str(ROOT / "tests"), str(tmp_path)]
    first, second = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        said = {process: next(line for line in process.stdout if line[0] == ">") for process in (first, second)}
        (opened,) = (process for process, line in said.items() if line == "> open\n")
        (refused,) = (process for process in said if process is not opened)
        sentence = f"another process is working on the training in {settings.checkpoint_dir}; wait for it or stop it."
        assert said[refused] == f"> {sentence}\n"
        with pytest.raises(ConfigError, match="another process is working on the training in"):
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
    assert f"were moved to {beside}" in caplog.text
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


def test_an_empty_batch_is_named(settings):
    with pytest.raises(IntegrationError, match=r"an empty batch at step 1; check data\.train_files"):
        started(settings).plan(step=1, uids=[], messages=[], labels=[])


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
    assert caplog.text.count("validation rewards of data source 'aime' range from -1 to 1, outside") == 1


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
