import numpy as np
import pytest

from verl_vip.reporting.curves import plot_accuracy, plot_family_accuracy, plot_no_signal_by_group, windows
from verl_vip.reporting.records import RecordWriter, read_run
from verl_vip.reporting.style import draw
from verl_vip.reporting.summary import wilson_interval, without_signal


@pytest.fixture
def run_of(tmp_path, make_header, make_validation):
    """Write a run whose validations have the given accuracies in percent, by step."""

    def write(name, accuracies):
        writer = RecordWriter(tmp_path / name)
        writer.append(make_header())
        for step, percent in accuracies.items():
            writer.append(make_validation(step, correct={"gcd": percent}, count={"gcd": 100}))
        return read_run(tmp_path / name)

    return write


def band_of(axes):
    """Least and greatest y of the shaded band at each x."""
    points = axes.collections[0].get_paths()[0].vertices
    return {x: (points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()) for x in points[:, 0]}


@pytest.mark.parametrize(("against", "x"), [("rollouts", [0, 80]), ("steps", [0, 5]), ("time", [1 / 60, 51 / 60])])
def test_accuracy_of_one_run_has_an_interval_over_problems(run_of, against, x):
    run = run_of("a", {0: 30.0, 5: 50.0})
    axes = draw(plot_accuracy, {"vip": [run]}, against=against).axes[0]
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xdata(), x)
    np.testing.assert_allclose(line.get_ydata(), [0.3, 0.5])
    assert band_of(axes)[line.get_xdata()[1]] == pytest.approx(wilson_interval(50, 100))
    assert axes.get_legend() is None


def test_seeds_share_a_line_and_a_band(run_of):
    runs = [run_of("a", {0: 30.0, 5: 50.0, 7: 99.0}), run_of("b", {0: 20.0, 5: 60.0})]
    axes = draw(plot_accuracy, {"vip": runs, "none": [run_of("c", {})]}, against="steps").axes[0]
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xdata(), [0, 5])
    np.testing.assert_allclose(line.get_ydata(), [0.25, 0.55])
    assert band_of(axes)[5.0] == pytest.approx((0.5, 0.6))
    assert line.get_label() == "vip (2 runs)"


def test_seeds_that_share_no_step_are_left_apart(run_of):
    runs = [run_of("a", {0: 30.0, 5: 50.0}), run_of("b", {1: 20.0, 6: 60.0})]
    axes = draw(plot_accuracy, {"vip": runs}, against="steps").axes[0]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0, 5], [1, 6]]


def test_family_accuracy_draws_the_largest_families(tmp_path, make_header, make_validation):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    count = {f"family{k}": 10 + k for k in range(10)}
    writer.append(make_validation(0, count=count, correct=dict.fromkeys(count, 5.0)))
    axes = draw(plot_family_accuracy, read_run(tmp_path)).axes[0]
    assert [line.get_label() for line in axes.lines] == [f"family{k}" for k in range(2, 10)]
    np.testing.assert_allclose([line.get_ydata()[0] for line in axes.lines], [5 / (10 + k) for k in range(2, 10)])
    assert len({line.get_color() for line in axes.lines}) == 8


def test_no_signal_is_averaged_over_seeds(write_run, tmp_path):
    runs = [read_run(write_run(tmp_path / str(seed), steps=3, seed=seed)) for seed in (0, 1)]
    (line,) = draw(plot_no_signal_by_group, {"vip": runs}).axes[0].lines
    expected = [np.mean([sum(without_signal(run.steps[k])) for run in runs]) for k in range(3)]
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_windows_average_neighbours():
    x, y = windows(np.arange(6.0), np.array([0, 2, np.nan, 4, np.nan, np.nan]), most=3)
    np.testing.assert_array_equal(x, [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(y, [1, 4, np.nan])
    assert windows(np.zeros(0), np.zeros(0))[0].shape == (0,)
    assert windows(np.arange(1000.0), np.ones(1000))[1].tolist() == [1.0] * 60
