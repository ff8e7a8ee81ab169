"""Columns of the training data on their way to the predictor, with rows as verl's dataset class gives them."""

import dataclasses
import json
import shutil

import pytest
import torch
from fixtures.sessions import MESSAGES, UIDS, demo_settings, finish, rollouts

from verl_vip.errors import ConfigError, IntegrationError, InvalidInputError
from verl_vip.prediction.covariates import EARLIER
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.workers.session import pool_covariates
from verl_vip.workers.session.pool_covariates import read_covariates
from verl_vip.workers.session.run_state import RunState
from verl_vip.workers.session.session import Session

NAMES = ("extra_info.difficulty", "data_source")


def rows_of(difficulties, sources="xyxy"):
    return [
        {"raw_prompt": message, "extra_info": {"difficulty": difficulty}, "data_source": source}
        for message, difficulty, source in zip(MESSAGES, difficulties, sources, strict=True)
    ]


ROWS = rows_of([0.25, 0.5, None, 0.75])


@pytest.fixture
def settings(tmp_path):
    found = demo_settings(tmp_path, "vip.predictor=ridge")
    return dataclasses.replace(found, vip=dataclasses.replace(found.vip, covariates=NAMES))


@pytest.fixture
def read(settings, monkeypatch, caplog):
    """Read rows that stand in for those of verl's dataset; returns the covariates and what was said."""

    def reading(rows, state=None, **changes):
        monkeypatch.setattr(pool_covariates, "rows_to_serve", lambda *_: iter(enumerate(rows)))
        vip = dataclasses.replace(settings.vip, **changes)
        state = state or RunState.fresh(vip, GradientVariance("rloo"), "the model")
        caplog.clear()
        with caplog.at_level("INFO", "verl_vip"):
            found = read_covariates(None, vip, state)
        return found, caplog.text

    return reading


def test_columns_are_standardised_and_told(read):
    found, said = read(ROWS)
    assert found.names == list(NAMES)
    assert (
        "covariates of 4 training prompts: extra_info.difficulty (numbers from 0.25 to 0.75, 1 missing), "
        "data_source (2 groups)" in said
    )
    assert read(ROWS, covariates=()) == (None, "")


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        (ROWS, ("extra_info.dificulty",), "names fields that no row of the training data has: extra_info.dificulty; c"),
        (rows_of([0.5] * 4), ("extra_info.difficulty",), "vip.covariates: every training prompt has the value 0.5 in "),
        (rows_of([0.5, "a", "b", 1]), ("extra_info.difficulty",), "extra_info.difficulty has numbers and texts"),
        (rows_of([float("nan")] * 4), ("extra_info.difficulty",), "names fields that no row of the training data has"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(read, rows, names, message):
    with pytest.raises(ConfigError) as caught:
        read(rows, covariates=names)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("inf"), "row 2 of the training data: extra_info.difficulty is infinite"), ([1], "is a list, and a cova")],
)
def test_a_value_that_cannot_be_used_is_named_with_its_row(read, value, message):
    with pytest.raises(InvalidInputError, match=message):
        read(rows_of([0.25, 0.5, value, 0.75]))


def opened(settings, pool):
    session = Session(settings)
    session.restore()
    session.use_covariates(pool)
    session.start()
    return session


def plan(session, step=1, rows=ROWS):
    tasks = [{"extra_info": row["extra_info"], "data_source": row["data_source"]} for row in rows]
    return session.plan(step=step, uids=UIDS, messages=MESSAGES, labels=["add"] * 4, tasks=tasks)


def train(session, steps):
    for step in steps:
        finish(session, rollouts(plan(session, step), [0, 4, 2, 8]), step)


def test_they_reach_the_predictor_and_are_kept_with_the_run(settings, read):
    pool, _ = read(ROWS)
    session = opened(settings, pool)
    train(session, (1, 2))
    width = session.planner.embedder.embed(["x"], ["x"]).shape[1]
    assert len(session.state.predictor.state_dict()["values"]["coefficients"]) == width + 4
    resuming = dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_2")
    again = opened(resuming, pool)
    plan(session, 3)
    plan(again, 3)
    (one,), (other,) = session.state.plans, again.state.plans
    assert torch.equal(one.prompts.covariates.values, other.prompts.covariates.values)
    assert torch.equal(one.prediction.mean, other.prediction.mean)


def test_a_resumed_run_goes_on_with_the_numbers_it_has_learned_from(settings, read):
    pool, _ = read(ROWS)
    train(opened(settings, pool), (1, 2))
    resuming = dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_2")
    added = {"raw_prompt": "new", "extra_info": {"difficulty": 0.01}, "data_source": "z"}
    session = opened(resuming, read([*ROWS, added])[0])
    assert session.state.covariates.columns == pool.columns


def test_other_values_are_refused_unless_the_predictor_starts_afresh(settings, read, caplog):
    train(opened(settings, read(ROWS)[0]), (1, 2))
    resuming = dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_2")
    changed, _ = read(rows_of([0.75, 0.5, None, 0.25]))
    with pytest.raises(ConfigError, match=r"learned with \(extra_info\.difficulty in 2 of 4 prompts"):
        opened(resuming, changed)
    fresh = dataclasses.replace(resuming, vip=dataclasses.replace(resuming.vip, on_missing_state="fresh"))
    session = opened(fresh, changed)
    assert "continuing with an untrained predictor, because vip.on_missing_state=fresh" in caplog.text
    assert not len(session.state.predictor.state_dict()["values"]["coefficients"])
    assert session.state.rollouts_total == 64
    assert session.state.covariates is changed


def test_other_columns_are_refused(settings, read):
    train(opened(settings, read(ROWS)[0]), (1, 2))
    resuming = dataclasses.replace(settings, resume_dir=settings.checkpoint_dir / "global_step_2")
    fewer = dataclasses.replace(resuming, vip=dataclasses.replace(resuming.vip, covariates=NAMES[:1]))
    with pytest.raises(ConfigError, match=r"vip\.covariates=\['extra_info\.difficulty', 'data_source'\], and"):
        opened(fewer, read(ROWS, covariates=NAMES[:1])[0])


def test_batches_in_flight_keep_their_covariates(settings, read):
    pool, _ = read(ROWS)
    session = opened(settings, pool)
    train(session, (1,))
    plan(session, 2)
    folder = settings.checkpoint_dir / "global_step_1"
    session.save(folder, 1)
    restored = Session(dataclasses.replace(settings, resume_dir=folder))
    restored.restore()
    (one,), (other,) = session.state.plans, restored.state.plans
    assert other.prompts.covariates.columns == one.prompts.covariates.columns
    assert torch.equal(other.prompts.covariates.values, one.prompts.covariates.values)


def test_a_predictor_without_use_for_them_is_told(settings, read, caplog):
    other = dataclasses.replace(settings, vip=dataclasses.replace(settings.vip, predictor="beta_table"))
    pool, _ = read(ROWS)
    train(opened(other, pool), (1,))
    assert "vip.predictor=beta_table does not use vip.covariates; drifting_gp and ridge do" in caplog.text


def test_a_session_that_was_not_shown_the_pool_does_not_go_on_without_it(settings):
    session = Session(settings)
    session.start()
    with pytest.raises(IntegrationError, match="the training set was not read"):
        plan(session)


def dump(folder, successes):
    """Write a step of stock verl's rollout dumps, in a chat template."""
    folder.mkdir()
    lines = [
        {"input": f"user\n{message[0]['content']}\nassistant\n", "output": "so", "score": float(k < solved), "step": 1}
        for message, solved in zip(MESSAGES, successes, strict=False)
        for k in range(4)
    ]
    (folder / "1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder)


def test_the_rates_of_an_earlier_run_are_a_covariate_that_a_resumed_run_keeps(settings, read, tmp_path):
    folder = dump(tmp_path / "dumps", [0, 4, 2])
    warm = dataclasses.replace(settings, vip=dataclasses.replace(settings.vip, warm_start=folder, covariates=()))
    pool, said = read(ROWS, warm_start=folder, covariates=())
    assert f"earlier success rates of 3 of 4 training prompts, from {folder}" in said
    session = opened(warm, pool)
    train(session, (1, 2))
    shutil.rmtree(folder)
    resumed = Session(dataclasses.replace(warm, resume_dir=warm.checkpoint_dir / "global_step_2"))
    resumed.restore()
    again, _ = read(ROWS, state=resumed.state, warm_start=folder, covariates=())
    resumed.use_covariates(again)
    resumed.start()
    plan(session, 3)
    plan(resumed, 3)
    (one,), (other,) = session.state.plans, resumed.state.plans
    assert one.prompts.covariates.columns == (EARLIER, f"{EARLIER} (missing)")
    assert one.prompts.covariates.values[:, 1].tolist() == [0, 0, 0, 1]
    assert torch.equal(one.prediction.mean, other.prediction.mean)


def test_a_run_that_was_started_without_earlier_rates_goes_on_without_them(settings, read, tmp_path):
    plain = dataclasses.replace(settings, vip=dataclasses.replace(settings.vip, covariates=()))
    session = Session(plain)
    session.start()
    train(session, (1, 2))
    resumed = Session(dataclasses.replace(plain, resume_dir=plain.checkpoint_dir / "global_step_2"))
    resumed.restore()
    found, said = read(ROWS, state=resumed.state, warm_start=str(tmp_path), covariates=())
    assert found is None
    assert "vip.warm_start has no effect: this run was started without it" in said


@pytest.mark.parametrize("make", [lambda folder: dump(folder, []), str])
def test_a_record_without_any_of_the_prompts_is_refused(read, tmp_path, make):
    with pytest.raises(ConfigError, match=r"^vip\.warm_start: "):
        read(ROWS, warm_start=make(tmp_path / "dumps"))


def test_a_record_of_other_prompts_is_refused(read, tmp_path):
    folder = tmp_path / "dumps"
    folder.mkdir()
    (folder / "1.jsonl").write_text('{"input": "user\\nSomething else", "output": "", "score": 1.0, "step": 1}\n')
    with pytest.raises(ConfigError, match="none of them is among the 4 training prompts; give a record of the same"):
        read(ROWS, warm_start=str(folder))
