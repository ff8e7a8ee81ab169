"""Pictures hold what they are about, at the edges too; how they look is judged by eye."""

import math

import numpy as np
import pytest
from fixtures.evaluations import metrics_of

from verl_vip.evaluation.results import ModelComparison, PairedDifference, ProblemScore, TableComparison
from verl_vip.reporting.evaluation_plots import (
    MOST_LINES,
    plot_differences,
    plot_pass_at_k,
    plot_problem_accuracy,
    plot_steps,
)
from verl_vip.reporting.style import draw, save_png, svg_text
from verl_vip.statistics.intervals import Estimate


def comparison(candidate, difference, baseline="base", benchmark=None):
    """A comparison of mean@n alone counts here."""
    mean = PairedDifference(difference, 1, 0, 4)
    return ModelComparison(baseline, candidate, benchmark, TableComparison(mean, mean, None))


def axes(plot, *args):
    (found,) = draw(plot, *args).axes
    return found


@pytest.mark.parametrize("n", [1, 2, 6, 32])
def test_pass_at_k_curves(n):
    ax = axes(plot_pass_at_k, [metrics_of("base", n=n, value=0.2), metrics_of("tuned", n=n, value=0.9)])
    first, second = ax.lines
    assert list(first.get_xdata()) == list(range(1, n + 1))
    assert first.get_ydata()[-1] == pytest.approx(1 - 0.8**n)
    assert [line.get_label() for line in (first, second)] == ["base", "tuned"]
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] <= 1.03


def test_all_failed_is_a_visible_flat_line():
    ax = axes(plot_pass_at_k, [metrics_of("base", n=4, value=0.0)])
    assert ax.get_ylim()[1] >= 0.05


def test_more_models_than_colours_are_left_out():
    assert len(axes(plot_pass_at_k, [metrics_of(str(k), n=4) for k in range(MOST_LINES + 3)]).lines) == MOST_LINES


def test_problems_are_ordered_by_the_first_model():
    def table(**means):
        return [ProblemScore(name, 1, mean, mean, mean) for name, mean in means.items()]

    first, second = table(a=0.9, b=0.1, c=0.5), table(a=0.2, b=0.3, c=0.4)
    steps, points = axes(plot_problem_accuracy, {"base": first, "tuned": second}).lines
    assert list(steps.get_ydata()) == [0.1, 0.5, 0.9]
    assert list(points.get_ydata()) == [0.3, 0.4, 0.2]


def test_steps_ascend_with_their_intervals():
    found = [metrics_of("vip", n=4, step=step, value=value) for step, value in ((6, 0.3), (12, 0.6))]
    ax = axes(plot_steps, {"sums": found})
    assert list(ax.lines[0].get_xdata()) == [6, 12]
    assert list(ax.lines[0].get_ydata()) == [0.3, 0.6]


def test_models_without_a_problem_of_the_first_are_named_without_points():
    def table(*problems):
        return [ProblemScore(problem, 1, 0.5, 0.5, 1.0) for problem in problems]

    ax = axes(plot_problem_accuracy, {"base": table("a", "b"), "tuned": table("c")})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["base", "tuned"]
    assert not len(ax.lines[1].get_xdata())


HOSTILE = ["$", "price_$5_to_$10", "_x", "x" * 400, "数学" * 50, "\ud800\x00\u202e"]


def test_any_text_may_name_models_and_benchmarks(tmp_path):
    table = [ProblemScore("a", 4, 0.5, 0.5, 1.0)]
    steps = [metrics_of("vip", n=4, step=6), metrics_of("vip", n=4, step=12)]
    for plot, arguments, legend in (
        (plot_pass_at_k, [metrics_of(name, n=4) for name in HOSTILE], True),
        (plot_problem_accuracy, dict.fromkeys(HOSTILE, table), True),
        (plot_steps, dict.fromkeys(HOSTILE, steps), True),
        (plot_differences, [comparison(name, Estimate(0.1, 0.0, 0.2), name, name) for name in HOSTILE], False),
    ):
        figure = draw(plot, arguments, height=5)
        save_png(figure, tmp_path / "a.png", HOSTILE[3])
        assert svg_text(figure, "a").encode()
        if legend:
            assert len(figure.axes[0].get_legend().get_texts()) == len(HOSTILE)


def test_a_difference_over_one_problem_has_no_bounds_and_still_a_picture(tmp_path):
    figure = draw(plot_differences, [comparison("tuned", Estimate(0.25, -math.inf, math.inf), benchmark="sums")])
    save_png(figure, tmp_path / "a.png", "")
    assert np.isfinite(figure.axes[0].get_xlim()).all()


def test_differences_are_coloured_by_whether_they_leave_out_zero():
    sure, unsure = Estimate(0.2, 0.1, 0.3), Estimate(0.05, -0.05, 0.15)
    ax = axes(plot_differences, [comparison("sure", sure), comparison("unsure", unsure)])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["unsure\nall benchmarks", "sure\nall benchmarks"]
    colours = [line.get_color() for line in ax.lines if len(np.atleast_1d(line.get_xdata())) == 1]
    assert len(set(colours)) == 2
