import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t, ttest_ind, ttest_rel

from verl_vip.errors import InvalidInputError
from verl_vip.statistics.intervals import (
    Estimate,
    mean_interval,
    paired_interval,
    paired_score_interval,
    pooled_ratio_interval,
    ratio_interval,
    score_interval,
    wilson_interval,
)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_score_interval_holds_its_mean_and_stays_in_range(scores):
    found = score_interval(scores)
    assert found.value == pytest.approx(np.mean(scores))
    assert -1e-12 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1 + 1e-12


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_all_failed_or_all_solved_is_not_certainty(score):
    found = score_interval([score] * 30)
    assert found.high - found.low > 0.1


def test_single_outcomes_give_wilsons_interval_with_students_quantile():
    found = score_interval([1.0] * 12 + [0.0] * 18)
    # The interval's ends are where |p - rate| = q sqrt(p (1 - p) / N).
    quantile = t.ppf(0.975, 29)
    for end in (found.low, found.high):
        assert abs(end - 0.4) == pytest.approx(quantile * math.sqrt(end * (1 - end) / 30), rel=1e-9)


def test_many_samples_of_few_problems_do_not_narrow_the_interval():
    few = score_interval([0.0, 0.2, 0.9, 1.0])
    assert few == score_interval(np.repeat([0.0, 0.2, 0.9, 1.0], 1))
    # 30 problems, however often each is sampled, are 30 problems: about 0.06 of standard error.
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 0.7, 30)
    wide = score_interval(rng.binomial(32, p) / 32)
    assert (wide.high - wide.low) / 4 == pytest.approx(0.06, abs=0.015)


@pytest.mark.parametrize(("alpha", "beta", "least"), [(0.3, 0.7, 0.92), (0.05, 0.95, 0.85), (5, 5, 0.92)])
def test_score_interval_covers_what_it_says(alpha, beta, least):
    rng = np.random.default_rng(1)
    rates = rng.beta(alpha, beta, (400, 30))
    found = [score_interval(row) for row in rng.binomial(16, rates) / 16]
    truth = alpha / (alpha + beta)
    assert np.mean([one.low <= truth <= one.high for one in found]) > least


def test_mean_interval_is_students():
    found = mean_interval([1.0, 2.0, 3.0, 4.0])
    half = t.ppf(0.975, 3) * np.std([1, 2, 3, 4], ddof=1) / 2
    assert (found.value, found.low, found.high) == pytest.approx((2.5, 2.5 - half, 2.5 + half))
    assert mean_interval([1.0]).high == math.inf


@pytest.mark.parametrize("scores", [[], [1.5], [-0.1], [math.nan]])
def test_no_interval_of_nonsense(scores):
    with pytest.raises(InvalidInputError):
        score_interval(scores)
    if not scores:
        with pytest.raises(InvalidInputError):
            mean_interval(scores)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_scipys(case):
    successes, trials = case
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    found = wilson_interval(successes, trials)
    assert found.value == successes / trials
    assert found.limits == pytest.approx((expected.low, expected.high), abs=1e-9)


PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30)


@given(PAIRS)
def test_paired_intervals_are_students_of_the_differences(pairs):
    candidate, baseline = zip(*pairs, strict=True)
    differences = [one - other for one, other in pairs]
    found = paired_interval(candidate, baseline)
    assert found == mean_interval(differences)
    assert found == paired_score_interval(candidate, baseline) or not any(differences)
    if np.ptp(differences) > 1e-3:
        expected = ttest_rel(candidate, baseline).confidence_interval(0.95)
        assert found.limits == pytest.approx((expected.low, expected.high))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_scores_without_a_difference_do_not_show_that_there_is_none(scores):
    found = paired_score_interval(scores, scores)
    assert found.value == 0
    assert found.low == -found.high < 0
    # A difference on so many problems shows on none of these with 2.5% probability.
    assert (1 - found.high) ** len(scores) == pytest.approx(0.025)


def test_unequal_sides_are_no_pairs():
    for interval in (paired_interval, paired_score_interval):
        with pytest.raises(InvalidInputError, match="as many values on both sides; got 1 and 2"):
            interval([0.0], [0.0, 1.0])
        with pytest.raises(InvalidInputError, match="at least one value"):
            interval([], [])


def test_an_estimate_prints_every_number_alike():
    estimate = Estimate(0.125, 0.1, 0.15)
    assert f"{estimate:.3f}" == "0.125 [0.100, 0.150]"
    assert f"{estimate:.1%}" == "12.5% [10.0, 15.0]"
    assert f"{estimate.scaled(100):+.1f}" == "+12.5 [+10.0, +15.0]"
    assert estimate.half_width == pytest.approx(0.025)


@pytest.mark.parametrize("limits", [(-math.inf, math.inf), (math.nan, math.nan)])
def test_an_estimate_without_an_interval_prints_its_value_alone(limits):
    assert f"{Estimate(0.125, *limits).scaled(100):+.1f}" == "+12.5"


_AMOUNTS = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=12)


@given(_AMOUNTS, _AMOUNTS)
def test_a_ratios_interval_is_welchs_on_logarithms(top, bottom):
    found = ratio_interval(top, bottom)
    assert found.low <= found.value * (1 + 1e-12)
    assert found.value <= found.high * (1 + 1e-12)
    logs = [np.log(values) for values in (top, bottom)]
    if min(float(np.ptp(values)) for values in logs) > 1e-6:
        expected = ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
        np.testing.assert_allclose(np.log(found.limits), [expected.low, expected.high], rtol=1e-6, atol=1e-9)
    back = ratio_interval(bottom, top)
    np.testing.assert_allclose([back.value, back.low, back.high], [1 / found.value, 1 / found.high, 1 / found.low])


@pytest.mark.parametrize("seeds", [5, 8, 12])
@pytest.mark.parametrize("spreads", [(0.35, 0.35), (0.2, 0.5)])
@pytest.mark.parametrize("horizon", [math.inf, 1.0])
def test_a_ratios_interval_covers_what_it_says_also_where_runs_end_at_a_horizon(seeds, spreads, horizon):
    rng = np.random.default_rng(seeds)

    def logs(trials, count):
        drawn = (rng.standard_normal((trials, count)) * spread for spread in spreads)
        reference, arm = drawn
        return np.minimum(reference, math.log(horizon)), np.minimum(arm - 1, math.log(horizon))

    many = logs(1, 400_000)
    truth = math.exp(many[0].mean() - many[1].mean())
    found = [ratio_interval(*np.exp(pair)) for pair in zip(*logs(1000, seeds), strict=True)]
    assert np.mean([one.low <= truth <= one.high for one in found]) > 0.925


def test_an_interval_over_base_models_covers_another_model_and_one_over_seeds_does_not():
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for _ in range(500):
        shift = 0.3 * rng.standard_normal((3, 1))
        reference, arm = np.exp(0.35 * rng.standard_normal((2, 3, 5)) + np.stack([shift, np.full((3, 1), -1.0)]))
        pooled = pooled_ratio_interval([ratio_interval(*pair).value for pair in zip(reference, arm, strict=True)])
        pooled_runs = ratio_interval(reference.ravel(), arm.ravel())
        held += [one.low <= math.e <= one.high for one in (pooled, pooled_runs)]
    assert held[0] > 460
    assert held[1] < 440


def test_ratios_of_single_values_and_of_values_alike():
    single = ratio_interval([8.0], [2.0, 2.5])
    assert single.value == pytest.approx(8 / math.sqrt(5))
    assert not single.is_bounded
    assert ratio_interval([8.0, 8.0], [2.0, 2.0]) == Estimate(*[pytest.approx(4.0)] * 3)
    assert pooled_ratio_interval([2.0]).value == pytest.approx(2.0)
    assert not pooled_ratio_interval([2.0]).is_bounded
    assert pooled_ratio_interval([2.0, 8.0]).value == pytest.approx(4.0)


@pytest.mark.parametrize("wrong", [[], [0.0], [-1.0, 2.0], [math.nan], [math.inf]])
def test_ratios_need_positive_numbers(wrong):
    with pytest.raises(InvalidInputError, match="positive"):
        ratio_interval(wrong, [1.0])
    with pytest.raises(InvalidInputError, match="positive"):
        ratio_interval([1.0], wrong)
    with pytest.raises(InvalidInputError, match="positive"):
        pooled_ratio_interval(wrong)
