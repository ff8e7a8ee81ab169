"""Every kind of pool gets its verdict, and always ten lines."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.outcomes import source_of
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.forecast.advice import Verdict, advise, pool_overrides
from verl_vip.forecast.forecast import make_forecast
from verl_vip.forecast.lines import forecast_lines
from verl_vip.records.outcomes import KeyKind, OutcomeBuilder, SourceKind

RNG = np.random.default_rng(0)
MIXED = RNG.beta(0.3, 0.3, 400)


def one_pass():
    """Two steps with different prompts."""
    builder = OutcomeBuilder(KeyKind.TEXT)
    for row, probability in enumerate(MIXED):
        won = int(RNG.binomial(8, probability))
        builder.add(str(row), 1 + row % 2, won, 8, 0 < won < 8)
    return builder.source(Path("record"), SourceKind.DUMPS, ())


def labelled(*groups):
    """A label for each group of equal prompts, given as a probability and a number of prompts."""
    probabilities = [probability for probability, size in groups for _ in range(size)]
    labels = [str(place) for place, (_, size) in enumerate(groups) for _ in range(size)]
    return source_of(probabilities, visits=4, labels=labels)


SOURCES = {
    Verdict.WORTH_IT: source_of(MIXED, visits=4),
    Verdict.ONE_PASS: one_pass(),
    Verdict.FILTERED: source_of(RNG.uniform(0.2, 0.8, 400), visits=4),
    Verdict.LITTLE: source_of(RNG.uniform(0.04, 0.96, 600), visits=4),
    Verdict.NO_SIGNAL: source_of(np.zeros(400)),
    Verdict.UNKNOWN: source_of(MIXED, visits=1, rollouts=1),
    Verdict.BALANCE: labelled((0.0, 300), (1.0, 300), (0.5, 60)),
    Verdict.LABELS: labelled((0.0, 150), (0.5, 50), (1.0, 100)),
}


@pytest.mark.parametrize("verdict", SOURCES)
def test_each_kind_of_pool_has_its_verdict(verdict):
    forecast = make_forecast(SOURCES[verdict])
    advice = advise(forecast)
    assert advice.verdict is verdict
    lines = forecast_lines(forecast)
    assert len(lines) == (6 if verdict is Verdict.UNKNOWN else 10)
    assert lines[-1] == ("set", advice.text)
    if verdict in (Verdict.FILTERED, Verdict.NO_SIGNAL, Verdict.LITTLE, Verdict.ONE_PASS):
        assert advice.text.startswith("Nothing")
    if verdict is Verdict.WORTH_IT:
        assert "+vip=rloo" in advice.text
        assert "+vip=prioritized" in advice.text


def test_too_few_prompts_have_no_verdict_but_a_number_to_record():
    for prompts in (1, 49):
        advice = advise(make_forecast(source_of(MIXED[:prompts], visits=1, rollouts=2)))
        assert advice.verdict is Verdict.UNKNOWN
        assert f"record about {200 - prompts} more" in advice.text


@pytest.mark.parametrize(
    ("rollouts", "told"), [(2, "8 or more rollouts of each prompt"), (8, r"about [\d,]+ more prompts")]
)
def test_an_interval_around_the_limit_gives_no_verdict(rollouts, told):
    """Prompts that are spread evenly are near the limit, and 100 of them do not tell on which side."""
    advice = advise(make_forecast(source_of(np.linspace(0.05, 0.95, 100), visits=1, rollouts=rollouts)))
    assert advice.verdict is Verdict.UNKNOWN
    assert re.search(told, advice.text)


def test_the_overrides_of_a_pool_are_those_of_the_guide():
    guide = (Path(__file__).parents[3] / "docs" / "verl.md").read_text(encoding="utf-8").replace(" \\\n    ", " ")
    assert pool_overrides() in guide
    assert "data.train_batch_size=768 vip.budget=64 " in pool_overrides(12)
    for verdict in (Verdict.WORTH_IT, Verdict.BALANCE):
        assert pool_overrides() in advise(make_forecast(SOURCES[verdict])).text


def test_lines_that_say_nothing_of_single_rollouts_are_left_out():
    lines = dict(forecast_lines(make_forecast(source_of(MIXED, visits=2, rollouts=1))))
    assert "groups without signal" not in lines
    assert lines["during the record"] == "too few rollouts of a prompt to show how that moved"
    assert "with 1 rollout each" in lines["record"]


def test_why_labels_say_nothing_is_told():
    def told(labels, texts=False):
        source = source_of(MIXED[:60], labels=labels)
        if texts:
            source = replace(source, outcomes=replace(source.outcomes, texts=("same words",) * 60))
        return dict(forecast_lines(make_forecast(source)))["labels"]

    assert told(None) == "no labels are recorded, and no texts of prompts are recorded"
    assert told(["a"] * 60, texts=True) == "all labels are 'a', and the texts do not cluster"
    assert told([str(row) for row in range(60)]).startswith("60 labels, of which fewer than two have 20 prompts")


def test_groups_of_training_are_smaller_than_those_of_a_measurement():
    """All 128 rollouts of a prompt with p = 10 % are alike almost never, but 43 % of its groups of 8 are."""
    forecast = make_forecast(source_of([0.1] * 300, visits=1, rollouts=128))
    text = dict(forecast_lines(forecast))["groups without signal"]
    seen, expected = re.fullmatch(r"(\d+)% as recorded \(.*\); (\d+)% in groups of 8", text).groups()
    assert int(seen) == 0
    assert abs(int(expected) - 43) <= 3


def test_few_useful_prompts_need_a_sharper_choice():
    forecast = make_forecast(source_of([0.0] * 900 + [0.5] * 100, visits=4))
    assert "exponent=4" in advise(forecast).text


def test_rollouts_of_training_are_those_of_the_record_or_given():
    assert make_forecast(source_of(MIXED, visits=2, rollouts=5)).group.rollouts == 5
    assert make_forecast(source_of(MIXED, visits=1, rollouts=64)).group.rollouts == 8  # one state: no training
    assert make_forecast(source_of(MIXED, visits=2, rollouts=1)).group.rollouts == 8  # which cannot be moved
    assert make_forecast(source_of(MIXED, visits=2, rollouts=5), rollouts=16).group.rollouts == 16
    with pytest.raises(InvalidInputError, match="at least 2 rollouts; got 1"):
        make_forecast(source_of(MIXED), rollouts=1)
    with pytest.raises(InvalidInputError, match="at most 4096 rollouts"):
        make_forecast(source_of(MIXED), rollouts=10**8)


@settings(max_examples=15, deadline=None)
@given(
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    visits=st.integers(1, 4),
    rollouts=st.integers(1, 12),
    labelled=st.booleans(),
)
def test_any_record_has_a_forecast(probabilities, visits, rollouts, labelled):
    labels = ["ab"[row % 2] for row in range(len(probabilities))] if labelled else None
    forecast = make_forecast(source_of(probabilities, visits, rollouts, labels=labels))
    assert [name for name, text in forecast_lines(forecast) if not text or "nan" in text] == []
    assert advise(forecast).verdict in Verdict
    assert forecast.hopeless + forecast.solved + forecast.teaches.value == pytest.approx(1)
