import numpy as np
import pytest

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.reporting.curves import explain_bands, plot_accuracy, plot_family_accuracy, windows
from verl_vip.reporting.style import draw
from verl_vip.statistics.intervals import mean_interval, wilson_interval


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
    assert band_of(axes)[line.get_xdata()[1]] == pytest.approx(wilson_interval(50, 100).limits)
    assert axes.get_legend() is None


def test_seeds_share_a_line_and_a_band(run_of):
    runs = [run_of("a", {0: 30.0, 5: 50.0, 7: 99.0}), run_of("b", {0: 20.0, 5: 60.0}), run_of("c", {0: 25.0, 5: 58.0})]
    axes = draw(plot_accuracy, {"vip": runs, "none": [run_of("d", {})]}, against="steps").axes[0]
    line = axes.lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0, 5])
    np.testing.assert_allclose(line.get_ydata(), [0.25, 0.56])
    interval = mean_interval([0.5, 0.6, 0.58])
    assert band_of(axes)[5.0] == pytest.approx((interval.low, interval.high))


def test_two_seeds_are_drawn_themselves(run_of):
    axes = draw(plot_accuracy, {"vip": [run_of("a", {0: 30.0, 5: 50.0}), run_of("b", {0: 20.0, 5: 60.0})]}).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.25, 0.55], [0.3, 0.5], [0.2, 0.6]]
    assert not axes.collections


def test_seeds_that_share_no_step_are_left_apart(run_of):
    runs = [run_of("a", {0: 30.0, 5: 50.0}), run_of("b", {1: 20.0, 6: 60.0})]
    axes = draw(plot_accuracy, {"vip": runs}, against="steps").axes[0]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0, 5], [1, 6]]


def test_of_many_lines_only_the_ends_have_intervals(run_of):
    groups = {f"s{k}": [run_of(f"s{k}", {0: 30.0, 5: 50.0})] for k in range(5)}
    axes = draw(plot_accuracy, groups).axes[0]
    whiskers = [collection.get_segments()[0][:, 1].tolist() for collection in axes.collections]
    assert whiskers == [pytest.approx(wilson_interval(50, 100).limits)] * 5
    assert "whisker at a line's end" in explain_bands(groups)


def test_what_bands_are_is_said_as_they_are_drawn(run_of):
    one, two, three = ([run_of(f"{size}{k}", {0: 1.0}) for k in range(size)] for size in (1, 2, 3))
    assert explain_bands({"a": one}) == "The band is the 95% interval over validation problems."
    assert "single run" not in explain_bands({"a": three})
    assert "thin lines" not in explain_bands({"a": three, "b": one})
    assert "single run" in explain_bands({"a": three, "b": one})
    assert "thin lines" in explain_bands({"a": two})


def test_accuracy_against_tokens_sums_the_steps_before(tmp_path, make_header, make_step, make_validation):
    writer = RecordWriter(tmp_path)
    for record in (
        make_header(),
        make_validation(0),
        make_step(1, tokens=[1, 2, 3, 4]),
        make_step(2, tokens=[10, 0, 0, 0]),
        make_validation(2),
        make_step(3, tokens=[5, 5, 5, 5]),
    ):
        writer.append(record)
    axes = draw(plot_accuracy, {"vip": [read_run(tmp_path)]}, against="tokens").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0, 20])
    assert axes.get_xlabel() == "response tokens in training"


def test_family_accuracy_draws_the_largest_families(tmp_path, make_header, make_validation):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    count = {f"family{k}": 10 + k for k in range(10)}
    writer.append(make_validation(0, count=count, correct=dict.fromkeys(count, 5.0)))
    axes = draw(plot_family_accuracy, read_run(tmp_path)).axes[0]
    assert [line.get_label() for line in axes.lines] == [f"family{k}" for k in range(2, 10)]
    np.testing.assert_allclose([line.get_ydata()[0] for line in axes.lines], [5 / (10 + k) for k in range(2, 10)])
    assert len({line.get_color() for line in axes.lines}) == 8


def test_windows_average_neighbours():
    x, y = windows(np.arange(6.0), np.array([0, 2, np.nan, 4, np.nan, np.nan]), most=3)
    np.testing.assert_array_equal(x, [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(y, [1, 4, np.nan])
    assert windows(np.zeros(0), np.zeros(0))[0].shape == (0,)
    assert windows(np.arange(1000.0), np.ones(1000))[1].tolist() == [1.0] * 60
