import math

import numpy as np
import pytest

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.reporting.seeds import (
    accuracy_curves,
    seed_interval,
    spent_rollouts,
    spent_seconds,
    spent_steps,
    spent_tokens,
)
from verl_vip.statistics.intervals import mean_interval


def test_runs_become_one_curve_over_common_steps(run_of):
    runs = [
        run_of("a", accuracies={0: 10.0, 16: 20.0, 48: 90.0}),
        run_of("b", accuracies={0: 20.0, 16: 40.0}),
        run_of("c", accuracies={0: 30.0, 16: 60.0}),
        run_of("d"),
    ]
    (curve,) = accuracy_curves(runs, spent_rollouts)
    np.testing.assert_allclose(curve.x, [0, 16])
    np.testing.assert_allclose(curve.mean, [0.2, 0.4])
    np.testing.assert_allclose(curve.runs, [[0.1, 0.2], [0.2, 0.4], [0.3, 0.6]])
    expected = mean_interval([0.2, 0.4, 0.6])
    assert (curve.low[1], curve.high[1]) == pytest.approx((max(expected.low, 0), min(expected.high, 1)))


def test_intervals_stay_among_shares_and_need_three_seeds():
    assert seed_interval([0.0, 0.1, 0.9]).limits == (0.0, 1.0)
    assert all(map(math.isnan, seed_interval([0.1, 0.2]).limits))


def test_what_was_spent_at_each_validation(tmp_path, make_header, make_step, make_validation):
    writer = RecordWriter(tmp_path)
    for record in (make_header(), make_validation(0), make_step(1, tokens=[1, 2, 3, 4]), make_validation(1)):
        writer.append(record)
    run = read_run(tmp_path)
    assert spent_rollouts(run).tolist() == [0, 16]
    assert spent_steps(run).tolist() == [0, 1]
    assert spent_seconds(run).tolist() == [1, 11]
    assert spent_tokens(run).tolist() == [0, 10]


def test_a_step_without_token_counts_leaves_the_later_sums_unknown(tmp_path, make_header, make_step, make_validation):
    writer = RecordWriter(tmp_path)
    for record in (make_header(), make_step(1, tokens=[1] * 4), make_validation(1), make_step(2), make_validation(2)):
        writer.append(record)
    np.testing.assert_equal(spent_tokens(read_run(tmp_path)), [4, math.nan])
