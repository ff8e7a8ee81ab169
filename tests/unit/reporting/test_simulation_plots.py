from dataclasses import replace

import pytest

from verl_vip.reporting.simulation_plots import plot_measure, plot_success
from verl_vip.reporting.style import draw, save_png
from verl_vip.simulation.comparison import compare, named_arms

NAMES = ["uniform", "vip", "knapsack", "gvm", "coba", "dynamo", "hora", "pods", "oracle"]


@pytest.fixture(scope="module")
def summaries(small):
    return compare(named_arms(NAMES, "beta_table"), small, 2)


def test_few_lines_are_drawn_and_those_known_are_among_them(summaries):
    (axes,) = draw(plot_success, summaries).axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(names) == len(axes.lines) == 7
    assert {"vip", "uniform", "oracle"} <= set(names)
    ends = [line.get_ydata()[-1] for line in axes.lines]
    assert ends == sorted(ends, reverse=True)


def test_arms_without_the_measure_are_left_out_and_the_largest_is_on_top(summaries):
    (axes,) = draw(plot_measure, summaries, "attainable_share", "share").axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-1] == "oracle"
    assert set(labels) == set(NAMES) - {"hora", "pods"}


def test_what_lies_below_the_axis_is_written(summaries):
    (axes,) = draw(plot_measure, summaries, "attainable_share", "share", least=0.99).axes
    assert axes.get_xlim()[0] == 0.99
    assert len(axes.texts) == 6
    assert "0%" in {text.get_text() for text in axes.texts}


def test_any_text_may_name_an_arm(summaries, tmp_path):
    names = ["$", "price_$5_to_$10", "_x", "x" * 400, "数学" * 50]
    hostile = [
        replace(summary, arm=replace(summary.arm, label=name)) for summary, name in zip(summaries, names, strict=False)
    ]
    figure = draw(plot_success, hostile)
    save_png(figure, tmp_path / "success.png", names[1])
    assert len(figure.axes[0].get_legend().get_texts()) == len(names)
    for summary in hostile:
        assert summary.arm.name not in ("vip", "uniform")
    figure = draw(plot_measure, hostile, "success_end", "success")
    save_png(figure, tmp_path / "measure.png", names[3])
    assert len(figure.axes[0].get_yticklabels()) == len(names)
