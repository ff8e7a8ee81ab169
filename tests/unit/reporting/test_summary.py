import math

import numpy as np
import pytest

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.records.step_statistics import without_signal
from verl_vip.reporting.summary import (
    broken_budgets,
    family_rows,
    summarize,
)


def test_broken_budgets_are_found(tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_step(1))
    writer.append(make_step(2, observed=[2, 6, 5, 2]))
    writer.append(make_step(3, budget=17))
    changed = {"requested": [2, 6, 6, 3], "observed": [2, 6, 6, 3]}
    writer.append(make_step(4, **changed))
    writer.append(make_step(5, budget=17, **changed))
    writer.append(make_header(started_at=make_step(5).wall_time + 1, budget=17, resumed_from=5))
    writer.append(make_step(6, budget=17, **changed))
    run = read_run(tmp_path)
    assert broken_budgets(run) == [2, 3, 4, 5]
    assert run.step_headers[0] is run.headers[0]
    assert run.step_headers[-1] is run.headers[1]


def test_a_clock_set_back_breaks_no_budget(tmp_path, make_header, make_step):
    """The place in the file says which start took a step: here the second began an hour before the first."""
    writer = RecordWriter(tmp_path)
    writer.append(make_header(budget=16))
    writer.append(make_step(1))
    first = make_step(1).wall_time
    writer.append(make_header(started_at=first - 3600, budget=17, resumed_from=1))
    writer.append(make_step(2, wall_time=first - 3500, budget=17, requested=[2, 6, 6, 3], observed=[2, 6, 6, 3]))
    run = read_run(tmp_path)
    assert broken_budgets(run) == []
    assert summarize(run).asked_exactly


def test_family_rows(tmp_path, make_header, make_step, make_validation):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_validation(0))
    writer.append(make_step(1))
    writer.append(make_step(2, requested=[0, 8, 6, 2], observed=[0, 8, 6, 2], successes=[0.0, 2.0, 3.0, 2.0]))
    writer.append(make_validation(2, correct={"gcd": 6.0, "lcm": 1.0}, count={"gcd": 10, "lcm": 2}))
    chain, gcd, lcm = family_rows(read_run(tmp_path))
    assert (chain.label, gcd.label, lcm.label) == ("chain_sum", "gcd", "lcm")
    assert (gcd.problems, gcd.first_accuracy, gcd.last_accuracy, gcd.groups) == (10, 0.3, 0.6, 4)
    assert gcd.rollouts_per_prompt == pytest.approx(4.0)
    assert gcd.mean_predicted == pytest.approx(0.225)
    assert gcd.mean_observed == pytest.approx((0 + 0.5 + 0.25) / 3)
    assert (chain.problems, chain.first_accuracy, chain.last_accuracy) == (None, 0.5, None)
    assert (lcm.groups, lcm.rollouts_per_prompt, lcm.first_accuracy, lcm.last_accuracy) == (
        0,
        None,
        None,
        0.5,
    )


def test_summary_of_a_run(run_folder):
    run = read_run(run_folder)
    summary = summarize(run)
    assert (summary.strategy, summary.steps, summary.rollouts) == ("vip", 40, 40 * 256)
    assert summary.broken == []
    assert summary.first is run.validations[0]
    assert summary.last is run.validations[-1]
    assert summary.all_wrong == pytest.approx(np.mean([without_signal(record)[0] for record in run.steps]))
    totals = [sum(record.seconds.values()) for record in run.steps]
    assert summary.overhead == pytest.approx(np.median(totals))
    assert summary.overhead_share == pytest.approx(np.median(totals) / 12, rel=0.1)


def test_summary_of_a_run_without_steps(tmp_path, make_header):
    RecordWriter(tmp_path).append(make_header())
    summary = summarize(read_run(tmp_path))
    assert (summary.strategy, summary.steps, summary.first, summary.seconds) == ("", 0, None, 0.0)
    assert math.isnan(summary.all_wrong)
    assert math.isnan(summary.overhead)
