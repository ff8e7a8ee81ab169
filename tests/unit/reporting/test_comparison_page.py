import math

import pytest

from verl_vip.reporting.comparison_page import comparison_page, shared_rollouts
from verl_vip.reporting.grouping import group_runs
from verl_vip.reporting.pareto import outcomes
from verl_vip.reporting.prediction_scores import score_predictions
from verl_vip.statistics.intervals import mean_interval


@pytest.fixture
def page_of():
    def build(**runs):
        groups = group_runs(runs)
        return comparison_page(groups, outcomes({name: list(group.values()) for name, group in groups.items()}), {})

    return build


def numbers(*texts):
    return "".join(f'<td class="number">{text}</td>' for text in texts)


def test_shared_rollouts_is_the_last_common_validation(run_of):
    long, short = (
        run_of("a", accuracies={0: 1.0, 16: 2.0, 32: 3.0}),
        run_of("b", accuracies={0: 1.0, 16: 2.0}),
    )
    assert shared_rollouts({"a": long, "b": short}) == 16
    assert shared_rollouts({"a": long, "c": run_of("c", accuracies={8: 1.0})}) is None


def test_seeds_of_a_strategy_are_one_line_with_an_interval(run_of, page_of):
    accuracies = {"a": 40.0, "b": 50.0, "c": 54.0}
    runs = {name: run_of(name, accuracies={0: 10.0, 16: value}, seed=value) for name, value in accuracies.items()}
    interval = mean_interval([0.4, 0.5, 0.54])
    cells = numbers("3", "16", "48.0%", f"{100 * interval.low:.1f} – {100 * interval.high:.1f}%", "40.0 – 54.0%")
    assert f"<td>vip</td>{cells}" in page_of(**runs)


def test_two_seeds_have_a_range_and_no_interval(run_of, page_of):
    runs = {
        "a": run_of("a", accuracies={0: 10.0, 16: 40.0, 32: 90.0}, seed=1),
        "b": run_of("b", accuracies={0: 10.0, 16: 50.0}, seed=2),
        "c": run_of("c", "uniform", {0: 10.0, 16: 30.0}),
    }
    page = page_of(**runs)
    assert f"<td>vip</td>{numbers('2', '16', '45.0%', '–', '40.0 – 50.0%')}" in page
    assert f"<td>uniform</td>{numbers('1', '16', '30.0%', '21.9 – 39.6%', '–')}" in page
    assert "90.0% [" in page


def test_strategies_are_compared_with_uniform_seed_by_seed(run_of, page_of):
    runs = {f"v{k}": run_of(f"v{k}", accuracies={16: 40.0 + 10 * k + k**2}, seed=k) for k in range(3)}
    runs |= {f"u{k}": run_of(f"u{k}", "uniform", {16: 30.0 + 10 * k}, seed=k) for k in range(3)}
    difference = mean_interval([0.10, 0.11, 0.14])
    text = f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    page = page_of(**runs)
    assert '<th class="number">above uniform</th>' in page
    assert f'<td class="number">{text}</td>' in page


def test_without_a_baseline_the_page_says_what_to_add(run_of, page_of):
    runs = {"a": run_of("a", accuracies={16: 40.0}), "b": run_of("b", "dars", accuracies={16: 40.0})}
    assert "To see what a strategy gains, add runs of vip.strategy=uniform" in page_of(**runs)


def test_runs_of_unequal_length_are_also_compared_where_all_were(run_of, page_of):
    page = page_of(
        a=run_of("a", accuracies={0: 1.0, 16: 40.0, 32: 60.0}), b=run_of("b", "dapo", accuracies={0: 1.0, 16: 35.0})
    )
    assert '<th class="number">after 16 rollouts</th>' in page
    assert '<th class="number">on the front</th>' in page
    assert f"<td>vip</td>{numbers('1', '32', '60.0%', '50.2 – 69.1%', '–', '40.0%')}" in page


def test_predictions_are_scored_for_each_strategy(run_of, page_of):
    run = run_of("a")
    (score, *_) = score_predictions(run)
    cells = numbers(f"{score.brier:.4f}", f"{score.log_loss:.4f}", f"{score.ece:.4f}", f"{score.spearman:.3f}")
    assert math.isfinite(score.spearman)
    assert f"<td>vip</td>{cells}" in page_of(a=run, b=run_of("b", "uniform"))


def test_settings_that_differ_are_shown_beside_each_other(run_of, page_of):
    page = page_of(a=run_of("a", seed=1, lower=2), b=run_of("b", seed=2, lower=2))
    assert "<th>run</th><th>data.seed</th>" in page
    assert "<td>a</td><td>1</td>" in page
    assert "<td>b</td><td>2</td>" in page
    assert "<dt>vip.lower</dt><dd>2</dd>" in page
    assert "<dt>version of verl</dt><dd>0.9.1</dd>" in page
    assert "accuracies are not compared" in page


def test_page_of_runs_that_have_only_started(run_of, page_of):
    page = page_of(a=run_of("a", steps=0), b=run_of("b", steps=0, lower=2))
    assert "nan" not in page
    assert "<td>vip (lower=–)</td>" in page
