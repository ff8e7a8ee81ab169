import pytest

from verl_vip.reporting.axes import count_axis, legend_above, legend_rows, percent_axis, step_axis
from verl_vip.reporting.style import draw


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels() if label.get_text()]


def test_percent_axis_has_no_label_twice():
    def plot(ax):
        ax.plot([0.501, 0.502])
        percent_axis(ax)

    labels = ticks(draw(plot).axes[0].yaxis)
    assert len(set(labels)) == len(labels) >= 3
    assert all(label.endswith("%") for label in labels)


@pytest.mark.parametrize("largest", [0, 1, 5, 256, 10240, 3_000_000])
def test_count_axis_begins_at_zero_with_whole_numbers(largest):
    def plot(ax):
        ax.plot([0, largest], [0, 1])
        count_axis(ax, largest)

    axes = draw(plot).axes[0]
    axes.figure.canvas.draw()
    shown = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    assert 0 in shown
    assert all(tick == int(tick) for tick in shown)
    assert axes.get_xlim()[1] > largest


def test_step_axis_has_whole_steps():
    def plot(ax):
        ax.plot([1, 2], [0, 1])
        step_axis(ax)

    assert all(tick == int(tick) for tick in draw(plot).axes[0].get_xticks())


def test_long_labels_take_more_lines():
    short, long = ["a", "b", "c", "d"], [f"vip (rollout.n={n}, predictor=drifting_gp)" for n in range(4)]
    assert (legend_rows(["one"]), legend_rows(short), legend_rows(long)) == (0, 1, 4)

    def plot(ax):
        for label in long:
            ax.plot([0, 1], label=label)
        legend_above(ax)

    figure = draw(plot)
    figure.canvas.draw()
    axes = figure.axes[0]
    box, area = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert box.y0 >= area.y1 - 1
    assert box.x1 <= figure.bbox.x1
