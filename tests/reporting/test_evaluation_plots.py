"""Pictures hold what they are about, at the edges too; how they look is judged by eye."""

import math

import numpy as np
import pytest

from verl_vip.evaluation.result_files import ProblemScore
from verl_vip.reporting.evaluation_plots import (
    MOST_LINES,
    plot_differences,
    plot_pass_at_k,
    plot_problem_accuracy,
    plot_steps,
)
from verl_vip.reporting.style import draw, save_png, svg_text


def estimate(value):
    return {"value": value, "low": max(value - 0.1, 0.0), "high": min(value + 0.1, 1.0)}


def metrics(model, n, step=None, value=0.5):
    curve = {str(k): estimate(1 - (1 - value) ** k) for k in range(1, n + 1)}
    return {"model": model, "step": step, "mean": estimate(value), "pass_at_k": curve}


def axes(plot, *args):
    (found,) = draw(plot, *args).axes
    return found


@pytest.mark.parametrize("n", [1, 2, 6, 32])
def test_pass_at_k_curves(n):
    ax = axes(plot_pass_at_k, [metrics("base", n, value=0.2), metrics("tuned", n, value=0.9)])
    first, second = ax.lines
    assert list(first.get_xdata()) == list(range(1, n + 1))
    assert first.get_ydata()[-1] == pytest.approx(1 - 0.8**n)
    assert [line.get_label() for line in (first, second)] == ["base", "tuned"]
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] <= 1.03


def test_all_failed_is_a_visible_flat_line():
    ax = axes(plot_pass_at_k, [metrics("base", 4, value=0.0)])
    assert ax.get_ylim()[1] >= 0.05


def test_more_models_than_colours_are_left_out():
    assert len(axes(plot_pass_at_k, [metrics(str(k), 4) for k in range(MOST_LINES + 3)]).lines) == MOST_LINES


def test_problems_are_ordered_by_the_first_model():
    def table(**means):
        return [ProblemScore(name, 1, mean, mean, mean) for name, mean in means.items()]

    first, second = table(a=0.9, b=0.1, c=0.5), table(a=0.2, b=0.3, c=0.4)
    steps, points = axes(plot_problem_accuracy, {"base": first, "tuned": second}).lines
    assert list(steps.get_ydata()) == [0.1, 0.5, 0.9]
    assert list(points.get_ydata()) == [0.3, 0.4, 0.2]


def test_steps_ascend_with_their_intervals():
    ax = axes(plot_steps, {"sums": [metrics("vip", 4, step=6, value=0.3), metrics("vip", 4, step=12, value=0.6)]})
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
    def comparison(name):
        difference = {"value": 0.1, "low": 0.0, "high": 0.2}
        return {"baseline": name, "candidate": name, "benchmark": name, "mean": {"difference": difference}}

    table = [ProblemScore("a", 4, 0.5, 0.5, 1.0)]
    steps = [metrics("vip", 4, step=6), metrics("vip", 4, step=12)]
    for plot, arguments, legend in (
        (plot_pass_at_k, [metrics(name, 4) for name in HOSTILE], True),
        (plot_problem_accuracy, dict.fromkeys(HOSTILE, table), True),
        (plot_steps, dict.fromkeys(HOSTILE, steps), True),
        (plot_differences, [comparison(name) for name in HOSTILE], False),
    ):
        figure = draw(plot, arguments, height=5)
        save_png(figure, tmp_path / "a.png", HOSTILE[3])
        assert svg_text(figure, "a").encode()
        if legend:
            assert len(figure.axes[0].get_legend().get_texts()) == len(HOSTILE)


def test_a_difference_over_one_problem_has_no_bounds_and_still_a_picture(tmp_path):
    difference = {"value": 0.25, "low": -math.inf, "high": math.inf}
    one = {"baseline": "base", "candidate": "tuned", "benchmark": "sums", "mean": {"difference": difference}}
    figure = draw(plot_differences, [one])
    save_png(figure, tmp_path / "a.png", "")
    assert np.isfinite(figure.axes[0].get_xlim()).all()


def test_differences_are_coloured_by_whether_they_leave_out_zero():
    def comparison(name, value, half):
        difference = {"value": value, "low": value - half, "high": value + half}
        return {"baseline": "base", "candidate": name, "benchmark": None, "mean": {"difference": difference}}

    ax = axes(plot_differences, [comparison("sure", 0.2, 0.1), comparison("unsure", 0.05, 0.1)])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["unsure\nall benchmarks", "sure\nall benchmarks"]
    colours = [line.get_color() for line in ax.lines if len(np.atleast_1d(line.get_xdata())) == 1]
    assert len(set(colours)) == 2
