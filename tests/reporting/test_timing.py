import numpy as np
import pytest

from verl_vip.reporting.records import RecordWriter, read_run
from verl_vip.reporting.timing import (
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
    clock = training_seconds(resumed)
    assert [clock(record.wall_time) for record in resumed.steps] == [100, 110, 125, 175, 185]
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
