import pytest

from verl_vip.reporting.comparison_page import comparison_page, group_runs, shared_rollouts
from verl_vip.reporting.records import RecordWriter, read_run


@pytest.fixture
def run_of(tmp_path, make_header, make_step, make_validation):
    """Write a run with the given `vip` settings and accuracies in percent by rollouts."""

    def write(name, strategy="vip", accuracies=None, seed=0, steps=1, **vip):
        writer = RecordWriter(tmp_path / name)
        writer.append(make_header(settings={"vip": {"strategy": strategy, **vip}, "data": {"seed": seed}}))
        for step in range(1, steps + 1):
            writer.append(make_step(step, strategy=strategy))
        for rollouts, percent in (accuracies or {}).items():
            correct, count = {"gcd": percent}, {"gcd": 100}
            writer.append(make_validation(rollouts // 16, rollouts_total=rollouts, correct=correct, count=count))
        return read_run(tmp_path / name)

    return write


def test_runs_of_one_strategy_are_one_group_whatever_their_seed(run_of):
    runs = {"a": run_of("a", seed=1), "b": run_of("b", seed=2), "c": run_of("c", "uniform")}
    assert {name: list(members) for name, members in group_runs(runs).items()} == {
        "vip": ["a", "b"],
        "uniform": ["c"],
    }


def test_runs_with_other_vip_settings_are_told_apart(run_of):
    runs = {
        "a": run_of("a", predictor="gp"),
        "b": run_of("b", predictor="ridge"),
        "c": run_of("c", "uniform"),
    }
    assert list(group_runs(runs)) == ["vip (predictor=gp)", "vip (predictor=ridge)", "uniform"]


def test_run_without_steps_is_grouped_by_its_settings(run_of):
    assert list(group_runs({"a": run_of("a", "knapsack", steps=0)})) == ["knapsack"]


def test_shared_rollouts_is_the_last_common_validation(run_of):
    long, short = (
        run_of("a", accuracies={0: 1.0, 16: 2.0, 32: 3.0}),
        run_of("b", accuracies={0: 1.0, 16: 2.0}),
    )
    assert shared_rollouts({"a": long, "b": short}) == 16
    assert shared_rollouts({"a": long, "c": run_of("c", accuracies={8: 1.0})}) is None


def test_strategies_are_compared_after_equal_rollouts(run_of):
    runs = {
        "a": run_of("a", accuracies={0: 10.0, 16: 40.0, 32: 90.0}, seed=1),
        "b": run_of("b", accuracies={0: 10.0, 16: 50.0}, seed=2),
        "c": run_of("c", "uniform", {0: 10.0, 16: 30.0}),
    }
    page = comparison_page(group_runs(runs), [])
    cells = "".join(f'<td class="number">{text}</td>' for text in ("2", "45.0%", "5.0 points", "40.0 – 50.0%"))
    assert f"<td>vip</td>{cells}" in page
    assert "Accuracy after 16 rollouts" in page
    assert "<td>uniform</td>" in page
    assert "90.0% [" in page


def test_settings_that_differ_are_shown_beside_each_other(run_of):
    runs = {"a": run_of("a", seed=1, lower=2), "b": run_of("b", seed=2, lower=2)}
    page = comparison_page(group_runs(runs), [])
    assert "<td>data.seed</td><td>1</td><td>2</td>" in page
    assert "<dt>vip.lower</dt><dd>2</dd>" in page
    assert "accuracies are not compared" in page


def test_page_of_runs_that_have_only_started(run_of):
    page = comparison_page(group_runs({"a": run_of("a", steps=0), "b": run_of("b", steps=0, lower=2)}), [])
    assert "nan" not in page
    assert "<td>vip (lower=–)</td>" in page
