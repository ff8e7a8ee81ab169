import numpy as np
import pytest

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.comparison import compare_tables, paired_difference
from verl_vip.evaluation.results import ProblemScore
from verl_vip.statistics.intervals import score_interval


def test_difference_is_by_problem():
    found = paired_difference({"a": 0.0, "b": 0.5, "c": 1.0}, {"c": 1.0, "b": 0.75, "a": 0.5})
    assert found.difference.value == pytest.approx(0.25)
    assert (found.better, found.worse, found.problems) == (2, 0, 3)


def test_pairing_takes_out_the_difficulty():
    rng = np.random.default_rng(0)
    rates = rng.beta(0.3, 0.7, 60)
    first = {str(k): rng.binomial(64, p) / 64 for k, p in enumerate(rates)}
    second = {str(k): rng.binomial(64, min(p + 0.05, 1)) / 64 for k, p in enumerate(rates)}
    paired = paired_difference(first, second).difference
    alone = score_interval(list(first.values()))
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 4


def test_no_difference_seen_is_not_certainty():
    scores = {str(k): 0.0 for k in range(252)}
    found = paired_difference(scores, scores).difference
    # A difference on 1.45% of problems shows on none of 252 with 2.5% probability.
    assert (found.value, found.low, found.high) == pytest.approx((0, -0.01453, 0.01453), abs=1e-5)
    assert (1 - found.high) ** 252 == pytest.approx(0.025)


def test_different_problems_are_refused():
    with pytest.raises(InvalidInputError, match="2 are on one side only"):
        paired_difference({"a": 0.0, "b": 1.0}, {"a": 0.0, "c": 1.0})


def table(n, *means):
    return {str(k): ProblemScore(str(k), n, mean, round(mean), float(mean > 0)) for k, mean in enumerate(means)}


def test_tables_with_unequal_n_have_no_common_pass_at_n():
    four, eight = table(4, 0.5, 1.0), table(8, 0.5, 0.0)
    alike = compare_tables(four, four)
    assert alike.pass_at_n is not None
    assert alike.pass_at_n.difference.value == 0
    found = compare_tables(four, eight)
    assert found.pass_at_n is None
    assert found.mean.difference.value == pytest.approx(-0.5)
