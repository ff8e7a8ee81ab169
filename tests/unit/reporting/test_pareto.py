import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.reporting.pareto import front, outcomes, plot_pareto
from verl_vip.reporting.style import SERIES, draw
from verl_vip.statistics.intervals import wilson_interval


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_front_holds_what_nothing_beats(points):
    best = front(points)
    for k, (cost, gain) in enumerate(points):
        beaten = any((c < cost and g >= gain) or (c <= cost and g > gain) for c, g in points)
        assert (k in best) is not beaten


def test_outcomes_are_means_of_the_last_common_validation(run_of):
    groups = {
        "vip": [run_of("a", accuracies={16: 40.0, 32: 90.0}), run_of("b", accuracies={16: 50.0})],
        "dapo": [run_of("c", "dapo", accuracies={32: 44.0})],
        "none": [run_of("d")],
    }
    vip, dapo = outcomes(groups)
    assert (vip.group, vip.runs, vip.rollouts, vip.accuracy.value, vip.on_front) == ("vip", 2, 16, 0.45, True)
    assert math.isnan(vip.accuracy.low)
    assert (dapo.runs, dapo.rollouts, dapo.accuracy.value, dapo.on_front) == (1, 32, 0.44, False)
    assert dapo.accuracy.limits == pytest.approx(wilson_interval(44, 100).limits)


def test_picture_shows_points_whiskers_and_the_stair(run_of):
    results = outcomes(
        {
            "vip (rollout.n=4)": [run_of("a", accuracies={16: 40.0})],
            "vip (rollout.n=8)": [run_of("b", accuracies={32: 60.0})],
            "uniform (rollout.n=8)": [run_of("c", "uniform", accuracies={32: 30.0})],
        }
    )
    axes = draw(plot_pareto, results).axes[0]
    stair, *points = axes.lines
    np.testing.assert_allclose(stair.get_xdata()[:2], [16, 32])
    assert stair.get_xdata()[2] > 32
    np.testing.assert_allclose(stair.get_ydata(), [0.4, 0.6, 0.6])
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in points] == [(16, 0.4), (32, 0.6), (32, 0.3)]
    assert [line.get_color() for line in points] == [SERIES[0], SERIES[0], SERIES[7]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["front", "vip", "uniform"]
    shapes = [line.get_marker() for line in points]  # as in the legend, which names strategies
    assert shapes[0] == shapes[1] != shapes[2]
    whiskers = [collection.get_segments()[0][:, 1].tolist() for collection in axes.collections]
    assert whiskers == [pytest.approx(wilson_interval(count, 100).limits) for count in (40, 60, 30)]
    low, high = axes.get_ylim()
    assert low < wilson_interval(30, 100).low
    assert high > wilson_interval(60, 100).high


def test_equal_points_are_seen_beside_each_other_without_a_warning(run_of, recwarn):
    results = outcomes({name: [run_of(f"{name}{k}", accuracies={16: 50.0}) for k in range(3)] for name in "abc"})
    figure = draw(plot_pareto, results)
    figure.canvas.draw()
    axes = figure.axes[0]
    places = [line.get_transform().transform((16, 0.5)) for line in axes.lines[1:]]
    middle = axes.transData.transform((16, 0.5))
    np.testing.assert_allclose(np.diff([x for x, _ in places]), [500 / 72] * 2)
    np.testing.assert_allclose(places[1], middle)
    assert all(axes.get_window_extent().contains(*place) for place in places)
    assert [str(warning.message) for warning in recwarn] == []


def test_one_strategy_is_told_apart_by_its_settings(run_of):
    results = outcomes({f"vip (rollout.n={n})": [run_of(f"{n}", accuracies={16 * n: 40.0 + n})] for n in (1, 2)})
    legend = draw(plot_pareto, results).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["front", "vip (rollout.n=1)", "vip (rollout.n=2)"]


def test_settings_that_cost_the_same_are_named(run_of):
    names = ["vip (predictor=gp)", "vip (predictor=ridge)", "uniform"]
    legend = draw(plot_pareto, outcomes({name: [run_of(name, accuracies={16: 40.0})] for name in names})).axes[0]
    assert [text.get_text() for text in legend.get_legend().get_texts()] == ["front", *names]


def test_legend_of_many_groups_names_strategies(run_of):
    results = outcomes({f"vip (rollout.n={n})": [run_of(f"{n}", accuracies={16 * n: 40.0 + n})] for n in range(1, 11)})
    legend = draw(plot_pareto, results).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["front", "vip"]
