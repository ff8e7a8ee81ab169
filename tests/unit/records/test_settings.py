"""Settings over the starts of a run."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import ConfigError
from verl_vip.records.records import RecordWriter, read_run
from verl_vip.records.settings import (
    decisive_config,
    is_incidental,
    require_same_settings,
    require_unfinished_or_same,
    shown_settings,
    shown_versions,
)

CONFIG = {
    "data": {"seed": 1, "files": ["a", "b"]},
    "vip": {"upper": 24, "cache_dir": "/c", "reward_range": (0.0, 1.0), "strategy_settings": {}},
    "trainer": {
        "total_training_steps": 2,
        "total_epochs": 100,
        "experiment_name": "first",
        "resume_mode": "auto",
        "val_only": False,
        "note": None,
    },
    "ray_kwargs": {"ray_init": {"runtime_env": {"env_vars": {"TOKEN": "secret"}}}},
    "clip": math.inf,
}


def changed(**changes) -> dict:
    """The config with values by dotted name, dots written as two underscores."""
    made = {group: dict(values) if isinstance(values, dict) else values for group, values in CONFIG.items()}
    for name, value in changes.items():
        group, _, key = name.partition("__")
        made[group] = {**made.get(group, {}), key: value} if key else value
    return made


@pytest.fixture
def run(tmp_path, make_header, make_step):
    """A run of two steps that ended well, and what else is to be written into its records."""

    def write(*further, config=CONFIG, **header):
        kept = None if config is None else decisive_config(config)
        writer = RecordWriter(tmp_path)
        for record in (make_header(config=kept, **header), make_step(1), make_step(2), *further):
            writer.append(record)
        (tmp_path / "latest_checkpointed_iteration.txt").write_text("2")
        return tmp_path

    return write


def test_what_is_kept_moves_a_result_and_holds_no_secret():
    kept = decisive_config(CONFIG)
    assert kept["data.seed"] == 1
    assert kept["vip.reward_range"] == [0.0, 1.0]
    assert kept["clip"] == "inf"
    assert not {"vip.cache_dir", "trainer.experiment_name", "trainer.note"} & kept.keys()
    assert "secret" not in str(kept)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data__seed": 7}, ["data.seed was 1 and is 7 now"]),
        ({"data__seed": True}, ["data.seed was 1 and is true now"]),
        ({"data__seed": None}, ["data.seed was 1 and is null now"]),
        ({"data__files": ["a"]}, ['data.files was ["a", "b"] and is ["a"] now']),
        ({"data__more": "x"}, ["data.more was null and is x now"]),
        ({"vip__strategy_settings": {"x": 2}}, ["vip.strategy_settings.x was null and is 2 now"]),
        ({"clip": 3.0, "vip__upper": 12}, ["clip was inf and is 3.0 now", "vip.upper was 24 and is 12 now"]),
        ({"data__seed": 7, "trainer__total_training_steps": 1}, ["data.seed was 1 and is 7 now"]),
    ],
)
def test_other_settings_behind_the_last_step_are_refused_with_then_and_now(run, changes, told):
    with pytest.raises(ConfigError, match=r"is finished \(step 2 of [12]\), with other settings") as refused:
        require_unfinished_or_same(run(), changed(**changes))
    for words in told:
        assert words in str(refused.value)
    assert str(refused.value).count(" now") == len(told)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trainer__total_training_steps": 3},
        {"trainer__total_training_steps": 3, "data__seed": 7},  # it trains on, as verl allows
        {"trainer__total_training_steps": 1},
        {"trainer__total_epochs": 7},
        {"trainer__experiment_name": "second", "vip__cache_dir": "/d", "ray_kwargs": {}},
        {"trainer__val_only": True, "data__seed": 7},
        {"trainer__resume_mode": "disable", "data__seed": 7},
        {"trainer__total_training_steps": None, "data__seed": 7},  # known when verl has read its data
    ],
)
def test_the_same_settings_more_steps_and_no_training_at_all_are_not(run, changes):
    require_unfinished_or_same(run(), changed(**changes))


def test_a_run_that_has_further_to_go_or_has_not_begun_is_nobodys_business(run, tmp_path, make_header):
    require_same_settings(tmp_path, changed(data__seed=7), 2, 2)  # no records
    RecordWriter(tmp_path).append(make_header())
    require_same_settings(tmp_path, changed(data__seed=7), 2, 2)  # no step
    folder = run()
    for step, last_step in ((None, 2), (1, 2), (2, None)):
        require_same_settings(folder, changed(data__seed=7), step, last_step)
    (folder / "latest_checkpointed_iteration.txt").write_text("")
    require_unfinished_or_same(folder, changed(data__seed=7))


def test_the_start_that_took_the_last_step_counts(run, make_header, make_step):
    seven = changed(data__seed=7)
    folder = run(make_header(resumed_from=2, config=decisive_config(seven)), make_step(3))
    require_same_settings(folder, seven, 3, 3)
    with pytest.raises(ConfigError, match="was 7 and is 1 now"):
        require_same_settings(folder, CONFIG, 3, 3)
    require_same_settings(folder, CONFIG, 2, 2)  # back at the checkpoint of the first
    # A start that took no step, such as one that only validated, has trained nothing.
    RecordWriter(folder).append(make_header(resumed_from=3, config=decisive_config(CONFIG)))
    require_same_settings(folder, seven, 3, 3)


def test_records_of_older_versions_tell_what_they_hold(run):
    folder = run(config=None, settings={"vip": {"upper": 24}, "data.seed": 1, "trainer.experiment_name": "x"})
    require_same_settings(folder, changed(data__files=["other"]), 2, 2)
    with pytest.raises(ConfigError, match=r"data\.seed was 1 and is 7 now"):
        require_same_settings(folder, changed(data__seed=7), 2, 2)


def test_many_differences_are_still_one_sentence(run):
    values = {f"{name}\n": "x\ny" for name in range(20)}
    with pytest.raises(ConfigError, match=r"; and 8 more\. Start it with") as refused:
        require_unfinished_or_same(run(), changed(data={**CONFIG["data"], **values}))
    assert "\n" not in str(refused.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=4))
def test_what_is_kept_is_read_again_as_it_was(config):
    kept = decisive_config(config)
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept


def test_the_page_shows_what_held_for_which_steps(run, make_header, make_step):
    few = {"vip": {"strategy": "vip"}, "data.seed": 1}
    again = {"vip": {"strategy": "uniform"}, "data.seed": 1}
    folder = run(
        make_header(resumed_from=2, settings=few, config=decisive_config(changed(clip=3.0))),
        make_header(resumed_from=2, settings=again, config=decisive_config(changed(clip=4.0, data__seed=7))),
        make_step(3),
        make_step(4),
        make_header(resumed_from=4, settings=again, config=decisive_config(changed(clip=4.0))),
        make_step(5),
        settings=few,
    )
    shown = shown_settings(read_run(folder))
    assert shown == {
        "data.seed": "1 (steps 1 to 2); 7 (steps 3 to 4); 1 (step 5)",
        "vip.strategy": "vip (steps 1 to 2); uniform (steps 3 to 5)",
        "clip": "inf (steps 1 to 2); 4.0 (steps 3 to 5)",
    }


def test_a_run_without_a_step_shows_its_last_start(tmp_path, make_header):
    writer = RecordWriter(tmp_path)
    writer.append(make_header(versions={"verl": "0.9.1"}))
    writer.append(make_header(settings={"a": {"b": 2}}, versions={"verl": "0.9.2"}))
    run = read_run(tmp_path)
    assert shown_settings(run) == {"a.b": "2"}
    assert shown_versions(run) == {"verl": "0.9.2"}


def test_versions_that_changed(run, make_header, make_step):
    again = make_header(resumed_from=2, versions={"verl": "0.9.2", "ray": "2"})
    folder = run(again, make_step(3), versions={"ray": "2"})
    assert shown_versions(read_run(folder)) == {"verl": "null (steps 1 to 2); 0.9.2 (step 3)", "ray": "2"}


@pytest.mark.parametrize(
    ("key", "incidental"),
    [("ray_kwargs.ray_init.num_cpus", True), ("trainer.device", True), ("trainer.devices", False), ("vip", False)],
)
def test_groups_and_names(key, incidental):
    assert is_incidental(key) is incidental
