import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.records.timing import (
    overhead_seconds,
    step_seconds,
    total_training_seconds,
    training_seconds,
)


@pytest.fixture
def resumed(tmp_path, make_header, make_step, make_validation):
    """A run that started at second 1000 and again at second 5000."""
    writer = RecordWriter(tmp_path)
    writer.append(make_header(started_at=1000.0))
    writer.append(make_step(1, wall_time=1100.0))
    writer.append(make_step(2, wall_time=1110.0))
    writer.append(make_validation(2, wall_time=1115.0))
    writer.append(make_step(3, wall_time=1125.0))
    writer.append(make_header(started_at=5000.0, resumed_from=3))
    writer.append(make_step(4, wall_time=5050.0))
    writer.append(make_validation(4, wall_time=5055.0))
    writer.append(make_step(5, wall_time=5060.0, seconds={"predict": 1.0}))
    return read_run(tmp_path)


def test_clock_leaves_pauses_out(resumed):
    steps, validations = training_seconds(resumed)
    assert steps.tolist() == [100, 110, 125, 175, 185]
    assert validations.tolist() == [115, 180]
    assert total_training_seconds(resumed) == 185


def test_step_seconds_leave_validation_and_loading_out(resumed):
    np.testing.assert_array_equal(step_seconds(resumed), [np.nan, 10, 10, np.nan, 5])


def test_overhead_has_a_column_for_each_part(resumed):
    overhead = overhead_seconds(resumed)
    assert list(overhead) == ["embed", "predict", "allocate", "observe"]
    np.testing.assert_array_equal(overhead["predict"], [0.02, 0.02, 0.02, 0.02, 1.0])
    np.testing.assert_array_equal(overhead["embed"], [0.01, 0.01, 0.01, 0.01, 0.0])


def test_run_without_steps_took_no_time(tmp_path, make_header):
    RecordWriter(tmp_path).append(make_header())
    run = read_run(tmp_path)
    assert total_training_seconds(run) == 0
    assert step_seconds(run).shape == (0,)
    assert overhead_seconds(run) == {}


@settings(max_examples=40)
@given(data=st.data())
def test_what_the_clock_is_set_to_between_starts_moves_nothing(make_header, make_step, tmp_path_factory, data):
    """Starts of a run whose clock was set before each of them: the same seconds of training as without."""
    gaps = data.draw(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=4), min_size=1, max_size=4))
    sets = data.draw(st.lists(st.integers(-100_000, 100_000), min_size=len(gaps), max_size=len(gaps)))
    folder = tmp_path_factory.mktemp("run")
    writer, step, expected = RecordWriter(folder), 0, []
    for start, (durations, moved) in enumerate(zip(gaps, sets, strict=True)):
        now = 1_000_000.0 + moved
        writer.append(make_header(started_at=now, resumed_from=step or None, budget=16 + start))
        for k, seconds in enumerate(durations):
            now, step = now + seconds, step + 1
            writer.append(make_step(step, wall_time=now, budget=16 + start))
            expected.append(math.nan if k == 0 else seconds)
    run = read_run(folder)
    assert [header.budget for header in run.step_headers] == [record.budget for record in run.steps]
    np.testing.assert_array_equal(step_seconds(run), expected)
    assert total_training_seconds(run) == sum(map(sum, gaps))


def test_a_clock_set_back_within_a_start_costs_that_gap_alone(tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header(started_at=5000.0))
    for step, time in enumerate((5010.0, 5020.0, 1430.0, 1440.0), start=1):
        writer.append(make_step(step, wall_time=time))
    run = read_run(tmp_path)
    np.testing.assert_array_equal(step_seconds(run), [np.nan, 10, np.nan, 10])
    assert total_training_seconds(run) == 30
