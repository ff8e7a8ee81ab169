"""Rewards of scorers of which nothing was set count as what they are, and none ends a run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.config import VipConfig
from verl_vip.workers.session.learned_ranges import LearnedRanges

REWARDS = st.floats(width=32)  # verl's are float32; NaN and infinity are among them
PAIRS = st.tuples(st.floats(-100, 100), st.floats(0.1, 100)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def learned(*rewards, **vip):
    ranges = LearnedRanges(VipConfig(**vip))
    ranges.see(["s"] * len(rewards), rewards)
    return ranges


@pytest.mark.parametrize(
    ("reward_range", "rewards", "shares"),
    [
        ((-1.0, 1.0), [0.0], [0.0]),  # wrong by a scorer that pays 0, beside one that pays -1
        ((-1.0, 1.0), [0.0, 1.0], [0.0, 1.0]),
        ((-1.0, 1.0), [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
        ((0.0, 1.0), [-1.0, 1.0], [0.0, 1.0]),
        ((0.0, 1.0), [0.0, 10.0], [0.0, 1.0]),
        ((-1.0, 1.0), [0.0, 10.0], [0.0, 1.0]),
        ((0.0, 0.5), [0.0, 0.5], [0.0, 1.0]),
        ((0.1, 1.0), [0.1, 1.0], [0.0, 1.0]),
        ((0.0, 1.0), [-2e38, 2e38], [0.0, 1.0]),
        ((0.0, 1.0), [1.0 + 1e-7], [1.0]),
    ],
)
def test_a_range_is_learned_where_none_is_named(reward_range, rewards, shares):
    ranges = learned(*rewards, reward_range=reward_range)
    assert [ranges.share("s", reward) for reward in rewards] == pytest.approx(shares)


def test_a_named_range_holds_and_what_lies_outside_is_told_once(caplog):
    ranges = learned(-3.0, 1.0, 7.0, reward_range=(-1.0, 1.0), reward_range_by_source={"s": (0.0, 2.0)})
    assert [ranges.share("s", reward) for reward in (-3.0, 1.0, 7.0)] == [0.0, 0.5, 1.0]
    told = "'s' range from -3 to 7, outside its range [0.0, 2.0]; they are counted as shares of [0.0, 2.0]"
    assert caplog.text.count(told) == 1


def test_a_widened_range_is_told_with_what_to_set(caplog):
    ranges = learned(-1.0, 1.0)
    assert ranges.share("s", -1.0) == 0
    ranges.share("s", 1.0)
    assert caplog.text.count("outside its range [0.0, 1.0]; they are counted as shares of [-1.0, 1.0]. Set +vip.") == 1


def test_sources_learn_apart():
    ranges = LearnedRanges(VipConfig(reward_range=(-1.0, 1.0)))
    ranges.see(["gsm8k", "dapo"], [0.0, -1.0])
    assert (ranges.share("gsm8k", 0.0), ranges.share("dapo", 0.0)) == (0.0, 0.5)


@given(rewards=st.lists(REWARDS, min_size=1), pair=PAIRS, named=st.none() | PAIRS)
def test_every_reward_has_a_share_and_more_is_never_less(rewards, pair, named):
    ranges = learned(*rewards, reward_range=pair, reward_range_by_source={} if named is None else {"s": named})
    finite = sorted(reward for reward in rewards if math.isfinite(reward))
    shares = [ranges.share("s", reward) for reward in finite]
    assert all(0 <= share <= 1 for share in shares)
    assert shares == sorted(shares)


def trained(rewards, **vip):
    ranges = LearnedRanges(VipConfig(reward_range=(-1.0, 1.0), **vip))
    for _ in range(1024 // len(rewards)):
        ranges.see_training(["s"] * len(rewards), rewards)


def test_a_source_whose_rollouts_never_earn_what_a_failure_should_is_told_once(caplog):
    trained([0.0, 1.0])
    assert caplog.text.count("'s' had a reward of at least 0, but vip.reward_range has -1 for a failure") == 1
    assert "+vip.reward_range_by_source={s: [0, solved]}" in caplog.text


@pytest.mark.parametrize("rewards", [[-1.0, 1.0], [1.0, 1.0], [math.nan, math.nan]])
def test_a_source_that_says_nothing_against_its_range_is_not_told_of(rewards, caplog):
    trained(rewards)
    trained([0.0, 1.0], reward_range_by_source={"s": (0.0, 1.0)})
    assert not caplog.text
