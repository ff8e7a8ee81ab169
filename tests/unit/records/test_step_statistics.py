import math
from dataclasses import replace
from itertools import combinations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from verl_vip.records.schema import StepRecord
from verl_vip.records.step_statistics import bands_of, prediction_error, signal_at_equal_counts, without_signal


def test_bands_cover_the_unit_interval():
    assert bands_of(np.array([0.0, 0.19, 0.2, 0.5, 0.8, 1.0])).tolist() == [0, 0, 1, 2, 4, 4]


def test_groups_without_signal_are_counted_among_sampled_groups(make_step):
    record = make_step(observed=[2, 6, 0, 2], requested=[2, 6, 0, 2], successes=[0.0, 3.0, 0.0, 2.0])
    assert without_signal(record) == pytest.approx((1 / 3, 1 / 3, 0))


def test_groups_whose_rewards_are_alike_are_counted_where_they_are_noted(make_step):
    record = make_step(successes=[0.0, 0.6, 6.0, 1.0], varied=[False, False, False, True])
    assert without_signal(record) == (0.25, 0.25, 0.25)
    assert without_signal(replace(record, varied=None)) == (0.25, 0.25, 0.0)


def test_nearly_full_house_of_fractional_rewards_has_no_signal(make_step):
    record = make_step(successes=[0.0, 6.0 - 1e-12, 2.0, 1.0])
    assert without_signal(record) == (0.25, 0.25, 0.0)


def test_no_group_has_no_share(make_step):
    shares = without_signal(make_step(observed=[0] * 4, successes=[0.0] * 4))
    assert all(map(math.isnan, shares))


def record(observed, successes, predicted=None, variance=None, **changes):
    size = len(observed)
    return StepRecord(
        **{
            "step": 1,
            "wall_time": 0.0,
            "strategy": "vip",
            "budget": sum(observed),
            "ids": [str(row) for row in range(size)],
            "labels": [""] * size,
            "requested": list(observed),
            "observed": list(observed),
            "predicted": [0.5] * size if predicted is None else list(predicted),
            "predicted_variance": [0.05] * size if variance is None else list(variance),
            "successes": [float(won) for won in successes],
            "rollouts_total": sum(observed),
            "seconds": {},
            **changes,
        }
    )


def with_signal(step):
    return sum(0 < won < count for won, count in zip(step.successes, step.observed, strict=True))


@hypothesis.given(st.integers(0, 9).flatmap(lambda n: st.lists(st.integers(0, n), min_size=1, max_size=6)), st.data())
def test_equal_counts_would_have_had_what_equal_counts_had(won, data):
    count = data.draw(st.integers(max(won), 9))
    step = record([count] * len(won), won)
    assert signal_at_equal_counts(step) == pytest.approx(with_signal(step))


@hypothesis.given(st.data())
def test_the_share_of_a_large_group_is_a_random_subset_of_it(data):
    # Of two groups, one is so large that the equal share is a subset of it, and the other has all its rewards varied.
    large = data.draw(st.integers(4, 9))
    won = data.draw(st.integers(0, large))
    step = record([large, 2], [won, 1])
    rewards = [1] * won + [0] * (large - won)
    expected = []
    for size in (((large + 2) // 2), ((large + 2) // 2 + 1)):
        subsets = list(combinations(rewards, size)) if size <= large else []
        expected.append(np.mean([0 < sum(subset) < size for subset in subsets]) if subsets else 0.0)
    share = (large + 2) % 2 / 2
    assert signal_at_equal_counts(step) == pytest.approx((1 - share) * expected[0] + share * expected[1] + 1)


def test_rollouts_that_a_small_group_lacks_follow_the_updated_prediction():
    # Beta(1, 1) has mean 1/2 and variance 1/12; after two failures the next two fail with probability 3/4 and 4/5.
    step = record([2, 6], [0, 3], predicted=[0.5, 0.5], variance=[1 / 12, 1 / 12])
    of_the_large = 1 - 2 * (3 * 2 * 1 * 0) / (6 * 5 * 4 * 3)
    assert signal_at_equal_counts(step) == pytest.approx(1 - 3 / 4 * 4 / 5 + of_the_large)


@pytest.mark.parametrize(
    "changes",
    [{"rounds": 2}, {"successes": [0.5, 3.0, 2.0, 2.0]}, {"varied": [True, True, True, True]}],
    ids=["rounds", "fractional", "equal sum"],
)
def test_without_0_and_1_in_one_round_nothing_is_known_of_equal_counts(make_step, changes):
    assert signal_at_equal_counts(make_step(**changes)) is None


@hypothesis.given(st.lists(st.tuples(st.integers(0, 12), st.floats(0, 1), st.floats(0, 0.3)), max_size=8), st.data())
def test_any_step_has_as_many_groups_with_signal_as_prompts_at_most(rows, data):
    won = [data.draw(st.integers(0, count)) for count, _, _ in rows]
    step = record([r[0] for r in rows], won, [r[1] for r in rows], [r[2] for r in rows])
    expected = signal_at_equal_counts(step)
    assert expected is None if not rows else -1e-9 <= expected <= len(rows) + 1e-9
    error = prediction_error(step)
    assert error is None or error.rms >= 0


def many_prompts(seed, predicted_of):
    rng = np.random.default_rng(seed)
    truth = rng.beta(1, 1, 4000)
    counts = rng.integers(2, 16, 4000)
    return record(counts.tolist(), rng.binomial(counts, truth).tolist(), predicted_of(truth), [0.0] * 4000)


@pytest.mark.parametrize("off", [0.0, 0.05, 0.2])
def test_the_error_of_predictions_is_found_beneath_the_noise_of_few_rollouts(off):
    error = prediction_error(many_prompts(1, lambda truth: np.clip(truth + np.where(truth < 0.5, off, -off), 0, 1)))
    assert error.rms**2 == pytest.approx(off**2, abs=0.002)
    assert error.skill == pytest.approx(1 - off**2 / (1 / 12), abs=0.05)


def test_one_number_for_all_has_no_skill_and_prompts_alike_none_to_be_had():
    assert prediction_error(many_prompts(2, lambda truth: np.full_like(truth, 0.5))).skill == pytest.approx(0, abs=0.05)
    alike = prediction_error(record([8] * 4, [4] * 4, [0.7] * 4))
    assert math.isnan(alike.skill)
    assert prediction_error(record([8, 1, 0], [4, 1, 0])) is None


def test_fractional_rewards_are_not_credited_with_the_noise_of_0_and_1():
    assert prediction_error(record([4, 4], [1.5, 3.5], [0.25, 1.0])).rms == pytest.approx(0.125)
