import pytest

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.reporting.run_page import accuracy_with_interval, budget_verdict, overhead_text, run_page
from verl_vip.reporting.summary import summarize


@pytest.fixture
def page_of(tmp_path):
    def build(*records):
        writer = RecordWriter(tmp_path)
        for record in records:
            writer.append(record)
        return run_page(read_run(tmp_path), {})

    return build


def test_headlines_of_a_finished_run(page_of, make_header, make_step, make_validation):
    steps = [make_step(step) for step in (1, 2)]
    late = make_validation(2, correct={"gcd": 6.0, "chain_sum": 3.0})
    page = page_of(make_header(), make_validation(0), *steps, late)
    assert "36.7 → 60.0%" in page
    assert "95% intervals over 15 problems" in page
    assert "2 steps of 4 prompts and 16 rollouts" in page
    assert 'class="card good"><p class="name">Budget kept exactly</p><p class="value">yes</p>' in page
    assert "all wrong 25.0%, all right 25.0%" in page
    assert '<p class="value">61 ms</p>' in page
    for heading in ("Predictions and overhead", "Families", "Starts", "Settings", "Versions"):
        assert f"<h2>{heading}</h2>" in page
    assert "<dt>vip.strategy.name</dt><dd>vip</dd>" in page
    assert "<dt>verl</dt><dd>0.9.1</dd>" in page


def test_lost_rollouts_are_shown_in_red(page_of, make_header, make_step):
    steps = [make_step(step, observed=[2, 6, 5, 2]) for step in range(1, 8)]
    page = page_of(make_header(), *steps)
    assert 'class="card bad"><p class="name">Budget kept exactly</p><p class="value">7 lost</p>' in page
    assert "in 7 of 7 steps rollouts came back without a reward (steps 1, 2, 3, 4, 5, …)" in page


def test_broken_budget_is_shown_in_red(page_of, make_header, make_step):
    page = page_of(make_header(), make_step(1), make_step(2, requested=[2, 6, 6, 3], observed=[2, 6, 6, 3]))
    assert 'class="card bad"><p class="name">Budget kept exactly</p><p class="value">no</p>' in page
    assert "in 1 of 2 steps counts differ (steps 2)" in page


def test_page_of_a_run_that_has_only_started(page_of, make_header):
    page = page_of(make_header())
    assert "no validation recorded" in page
    assert "no step recorded" in page
    assert "Predictions" not in page
    assert "nan" not in page


def test_resumes_are_listed(page_of, make_header, make_step):
    page = page_of(make_header(), make_step(1), make_header(started_at=1_800_003_600.0, resumed_from=1))
    assert "<td>2027-01-15 08:00:00 UTC</td><td>from the beginning</td>" in page
    assert "<td>2027-01-15 09:00:00 UTC</td><td>resumed after step 1</td>" in page


def test_single_validation_is_no_change(page_of, make_header, make_validation):
    page = page_of(make_header(), make_validation(0))
    assert "once, 36.7% [" in page
    assert "→" not in page


def test_interval_text(make_validation):
    record = make_validation(correct={"gcd": 3.0}, count={"gcd": 10})
    assert accuracy_with_interval(record) == "30.0% [10.8, 60.3]"


def test_texts_of_a_summary(run_folder):
    summary = summarize(read_run(run_folder))
    assert budget_verdict(summary)[::2] == ("yes", "good")
    seconds, share = overhead_text(summary)
    assert seconds.endswith(" ms")
    assert share.endswith("% of the median step")
