"""Columns of the training data on their way to the predictor, with rows as verl's dataset class gives them."""

import dataclasses

import pytest
import torch
from fixtures.sessions import MESSAGES, UIDS, demo_settings, finish, rollouts

from verl_vip.errors import ConfigError, IntegrationError, InvalidInputError
from verl_vip.workers.session import pool_covariates
from verl_vip.workers.session.pool_covariates import read_covariates
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

    def reading(rows, **vip):
        monkeypatch.setattr(pool_covariates, "rows_to_serve", lambda *_: iter(enumerate(rows)))
        caplog.clear()
        with caplog.at_level("INFO", "verl_vip"):
            found = read_covariates(None, dataclasses.replace(settings.vip, **vip))
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
