import numpy as np
import pytest

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.reporting.plots import (
    plot_counts_by_prediction,
    plot_counts_over_time,
    plot_no_signal,
    plot_overhead,
    plot_reliability,
)
from verl_vip.reporting.style import draw
from verl_vip.statistics.intervals import wilson_interval


@pytest.fixture
def run(tmp_path, make_header, make_step):
    """Two steps over the same four prompts."""
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_step(1))
    writer.append(make_step(2, requested=[4, 6, 4, 2], observed=[4, 6, 4, 2]))
    return read_run(tmp_path)


def test_counts_by_prediction_shows_every_group_and_the_mean(run):
    axes = draw(plot_counts_by_prediction, run, bins=20).axes[0]
    discs = axes.collections[0]
    cells = {
        tuple(np.round(point, 3)): size for point, size in zip(discs.get_offsets(), discs.get_sizes(), strict=True)
    }
    assert set(cells) == {(0.075, 2), (0.075, 4), (0.425, 6), (0.525, 4), (0.525, 6), (0.975, 2)}
    assert cells[0.425, 6] == 2 * cells[0.075, 2]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0.075, 0.425, 0.525, 0.975])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [3, 6, 5, 2])


def test_large_counts_share_discs(tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    counts = [0, 99, 399, 400]
    writer.append(make_step(1, predicted=[0.5] * 4, requested=counts, observed=counts, successes=[0.0] * 4))
    discs = draw(plot_counts_by_prediction, read_run(tmp_path)).axes[0].collections[0]
    np.testing.assert_allclose(discs.get_offsets()[:, 1], [5, 104, 401])  # middles of 0-10, 99-109, 396-406


def test_counts_over_time_has_a_line_for_each_band_in_use(run):
    lines = draw(plot_counts_over_time, run).axes[0].lines
    assert {line.get_label(): line.get_ydata().tolist() for line in lines} == {
        "0–0.2": [2, 4],
        "0.4–0.6": [6, 5],
        "0.8–1": [2, 2],
    }


def test_points_without_neighbours_are_marked(tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    for step in range(1, 41):
        p = 0.9 if step == 20 else 0.1
        writer.append(make_step(step, predicted=[p] * 4))
    often, once = draw(plot_counts_over_time, read_run(tmp_path)).axes[0].lines
    assert once.get_markevery() == [19]
    assert len(often.get_markevery()) < 12


def test_reliability_shows_rates_with_intervals(run):
    axes = draw(plot_reliability, run).axes[0]
    diagonal, observed = axes.lines[:2]
    assert list(diagonal.get_ydata()) == [0, 1]
    np.testing.assert_allclose(observed.get_xdata(), [0.05, 0.4, 0.5, 0.95])
    np.testing.assert_allclose(observed.get_ydata(), [0, 0.5, (2 / 6 + 2 / 4) / 2, 1])
    second = axes.collections[0].get_segments()[1]
    np.testing.assert_allclose(second[:, 1], wilson_interval(1.0, 2).limits)
    assert max(bar.get_height() for bar in axes.patches) == pytest.approx(1 / 8)


def test_no_signal_stacks_wrong_below_right(run):
    wrong, right = draw(plot_no_signal, run).axes[0].collections
    assert wrong.get_paths()[0].vertices[:, 1].max() == pytest.approx(0.25)
    assert right.get_paths()[0].vertices[:, 1].max() == pytest.approx(0.5)


def test_groups_alike_in_between_are_stacked_on_top(tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    for step in (1, 2):
        writer.append(make_step(step, successes=[0.0, 0.6, 6.0, 1.0], varied=[False, False, False, True]))
    axes = draw(plot_no_signal, read_run(tmp_path)).axes[0]
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in axes.collections]
    assert tops == pytest.approx([0.25, 0.5, 0.75])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all wrong", "all right", "alike in between"]


def test_overhead_areas_stack_to_the_total(run):
    axes = draw(plot_overhead, run).axes[0]
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in axes.collections]
    np.testing.assert_allclose(tops, np.cumsum([0.01, 0.02, 0.001, 0.03]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "embed",
        "predict",
        "allocate",
        "observe",
    ]


@pytest.mark.parametrize(
    "plot",
    [plot_counts_by_prediction, plot_counts_over_time, plot_reliability, plot_no_signal, plot_overhead],
)
def test_one_step_is_enough(plot, tmp_path, make_header, make_step, recwarn):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_step(1))
    figure = draw(plot, read_run(tmp_path))
    figure.canvas.draw()
    assert figure.axes[0].has_data()
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("plot", [plot_no_signal, plot_overhead])
def test_areas_of_one_step_have_a_width(plot, tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_step(7))
    assert draw(plot, read_run(tmp_path)).axes[0].get_xlim() == (6.5, 7.5)
