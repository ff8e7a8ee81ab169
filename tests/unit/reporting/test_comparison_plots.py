import numpy as np
import pytest

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.records.step_statistics import without_signal
from verl_vip.reporting.comparison_plots import (
    plot_counts_by_group,
    plot_no_signal_by_group,
    plot_overhead_by_group,
    plot_reliability_by_group,
)
from verl_vip.reporting.style import draw, save_png, svg_text


@pytest.fixture
def two_runs(tmp_path, make_header, make_step):
    """Two runs of one group over the same four prompts, with different counts and timings."""
    runs = []
    for name, changes in {
        "a": {},
        "b": {
            "requested": [4, 6, 4, 2],
            "observed": [4, 6, 4, 2],
            "seconds": {"embed": 0.03, "predict": 0.02, "allocate": 0.001, "observe": 0.05},
        },
    }.items():
        writer = RecordWriter(tmp_path / name)
        writer.append(make_header())
        writer.append(make_step(1, **changes))
        runs.append(read_run(tmp_path / name))
    return runs


def test_counts_are_means_over_all_runs_of_a_group(two_runs):
    (line,) = draw(plot_counts_by_group, {"vip": two_runs}, bins=10).axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), [0.05, 0.45, 0.55, 0.95])
    np.testing.assert_allclose(line.get_ydata(), [3, 6, 5, 2])


def test_reliability_pools_the_runs_of_a_group(two_runs):
    diagonal, line = draw(plot_reliability_by_group, {"vip": two_runs}).axes[0].lines
    assert list(diagonal.get_ydata()) == [0, 1]
    np.testing.assert_allclose(line.get_xdata(), [0.05, 0.4, 0.5, 0.95])
    np.testing.assert_allclose(line.get_ydata(), [0, 0.5, (2 / 6 + 2 / 4) / 2, 1])


def test_no_signal_is_averaged_over_seeds(write_run, tmp_path):
    runs = [read_run(write_run(tmp_path / str(seed), steps=3, seed=seed)) for seed in (0, 1)]
    (line,) = draw(plot_no_signal_by_group, {"vip": runs}).axes[0].lines
    expected = [np.mean([sum(without_signal(run.steps[k])) for run in runs]) for k in range(3)]
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_overhead_bars_are_medians_stacked_by_part(two_runs):
    axes = draw(plot_overhead_by_group, {"vip": two_runs, "uniform": two_runs[:1]}).axes[0]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {
        "embed": pytest.approx([0.02, 0.01]),
        "predict": pytest.approx([0.02, 0.02]),
        "allocate": pytest.approx([0.001, 0.001]),
        "observe": pytest.approx([0.04, 0.03]),
    }
    starts = [bars[0].get_x() for bars in axes.containers]
    np.testing.assert_allclose(starts, [0, 0.02, 0.04, 0.041])
    assert [text.get_text() for text in axes.texts] == ["vip", "uniform"]


def test_overhead_bars_keep_their_room_whatever_the_groups_are_called(two_runs):
    def room(*names):
        figure = draw(plot_overhead_by_group, dict.fromkeys(names, two_runs))
        figure.draw_without_rendering()
        return figure.axes[0].get_position().width

    assert room("vip", "uniform") > 0.8
    long = "actor_rollout_ref.rollout.n=8, predictor=gaussian_process"
    assert room(f"vip ({long})", f"uniform ({long})") == pytest.approx(room("vip", "uniform"), abs=0.02)


@pytest.mark.parametrize(
    "plot", [plot_counts_by_group, plot_reliability_by_group, plot_no_signal_by_group, plot_overhead_by_group]
)
def test_any_text_may_name_groups_and_timed_parts(plot, tmp_path, make_header, make_step):
    names = ["$", "price_$5_to_$10", "_x", "", "x" * 400, "数学" * 50, "\ud800\x00\u202e", "_nolegend_", *"abc"]
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_step(1, seconds=dict.fromkeys(names, 0.1)))
    groups = {name: [read_run(tmp_path)] for name in names[:8]}
    figure = draw(plot, groups, height=5)
    save_png(figure, tmp_path / "a.png", "")
    assert svg_text(figure, "a").encode()
    shown = len(names) if plot is plot_overhead_by_group else len(groups)
    assert len(figure.axes[0].get_legend().get_texts()) == shown
