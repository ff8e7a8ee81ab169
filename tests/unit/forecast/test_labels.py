"""How much labels tell is a share of variance, without the noise of rates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.forecast.labels import label_effect


def effect(probabilities, labels, rollouts=8, seed=0):
    trials = np.full(len(probabilities), rollouts)
    return label_effect(
        tuple(labels), np.random.default_rng(seed).binomial(trials, probabilities).astype(float), trials
    )


@pytest.mark.parametrize("rollouts", [2, 8])
def test_labels_that_are_all(rollouts):
    found = effect(np.repeat([0.2, 0.8], 300), ["hard"] * 300 + ["easy"] * 300, rollouts)
    assert found.share.high > 0.95
    assert found.share.value > 0.8
    assert {row.label: round(row.success, 1) for row in found.rows} == {"hard": 0.2, "easy": 0.8}


@pytest.mark.parametrize("count", [2, 20])
def test_labels_that_are_nothing(count):
    rng = np.random.default_rng(0)
    found = effect(rng.beta(0.4, 0.4, 1000), [str(row % count) for row in range(1000)])
    assert found.share.value < 0.05
    assert found.share.low == 0
    assert found.even_signal == pytest.approx(1, abs=0.1)


def test_a_small_useful_label_is_worth_an_even_draw():
    probabilities = np.array([0.0] * 400 + [1.0] * 400 + [0.5] * 100)
    found = effect(probabilities, ["a"] * 400 + ["b"] * 400 + ["c"] * 100)
    assert found.even_signal == pytest.approx(3, rel=0.1)
    assert found.top_signal == pytest.approx(4, rel=0.1)


def test_small_labels_are_counted_together():
    found = effect(np.full(130, 0.5), ["big"] * 100 + [str(row) for row in range(30)])
    assert [(row.label, row.prompts) for row in found.rows] == [("big", 100), ("(small ones)", 30)]


@pytest.mark.parametrize(("labels", "rollouts"), [([""] * 60, 8), (list("ab") * 10, 8), (["x", "y"] * 30, 1)])
def test_without_two_labels_of_enough_prompts_nothing_is_said(labels, rollouts):
    assert effect(np.full(len(labels), 0.5), labels, rollouts) is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), min_size=2, max_size=120), st.integers(2, 8))
def test_shares_are_shares(prompts, rollouts):
    labels, probabilities = zip(*prompts, strict=True)
    found = effect(np.array(probabilities), labels, rollouts)
    if found is not None:
        assert 0 <= found.share.low <= found.share.value <= found.share.high <= 1
        assert sum(row.prompts for row in found.rows) == len(prompts)
        assert found.top_signal >= 1 - 1e-9
