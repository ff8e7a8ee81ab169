"""Gains agree with what is known exactly: no knowledge gains nothing, and p itself gains what the allocator gains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.allocation import allocate
from verl_vip.forecast.gains import Group, estimate_gains
from verl_vip.statistics.success_distribution import fit_success_distribution


def pool_of(probabilities, rollouts=200):
    trials = np.full(len(probabilities), rollouts)
    return fit_success_distribution(np.round(np.asarray(probabilities) * rollouts), trials)


def test_known_probabilities_gain_what_the_allocator_gains():
    """Half of the prompts have p(1-p) = .25 and half .09: the counts of two kinds of prompts, computed directly."""
    (known,) = estimate_gains(pool_of([0.5, 0.1] * 200), Group(8), [None])
    p = np.array([0.5, 0.1] * 64)
    counts = allocate(p, 8 * len(p), lower=3, upper=32).numpy()
    signal = p * (1 - p)
    left = (signal / (counts - 1)).sum() / (signal / 7).sum()
    assert known.variance_left.value == pytest.approx(left, abs=0.02)
    assert known.top_signal.value == pytest.approx(0.25 / signal.mean(), rel=0.03)


def test_a_few_useful_prompts_among_hopeless_ones():
    """A tenth of the prompts has all the signal, so that a quarter of the prompts has ten quarters of the average."""
    (known,) = estimate_gains(pool_of([0.5] + [0.0] * 9), Group(8), [None])
    assert known.top_signal.value == pytest.approx(4, rel=0.05)
    assert known.variance_left.value < 0.3


@settings(max_examples=20, deadline=None)
@given(
    probabilities=st.lists(st.floats(0, 1), min_size=2, max_size=6),
    group=st.builds(Group, st.integers(2, 16)),
    rollouts=st.integers(1, 16),
)
def test_more_knowledge_gains_more(probabilities, group, rollouts):
    rng = np.random.default_rng(0)
    trials = np.full(40 * len(probabilities), rollouts)
    pool = fit_success_distribution(rng.binomial(trials, np.repeat(probabilities, 40)).astype(float), trials)
    nothing, some, known = estimate_gains(pool, group, [0, 4, None])
    assert nothing.variance_left.limits == nothing.top_signal.limits == (1, 1)
    assert known.variance_left.value <= min(some.variance_left.value, 1) + 0.02
    assert known.top_signal.value >= some.top_signal.value - 0.02
    for gain in (some, known):
        assert 0 < gain.variance_left.low <= gain.variance_left.value <= gain.variance_left.high
        assert gain.top_signal.low <= gain.top_signal.value <= gain.top_signal.high <= 4.01


def test_groups_of_the_least_size_cannot_be_moved():
    (known,) = estimate_gains(pool_of([0.5, 0.0]), Group(3), [None])
    assert known.variance_left.value == 1


POPULATIONS = {
    "U-shaped": lambda rng, size: rng.beta(0.3, 0.3, size),
    "single peak": lambda rng, size: rng.beta(3, 3, size),
}


@pytest.mark.parametrize("rollouts", [2, 8])
@pytest.mark.parametrize("name", POPULATIONS)
def test_the_intervals_of_the_gains_cover(name, rollouts):
    """In at least 8 of 10 samples: at 95 % coverage, fewer would occur in 1 % of all runs. The seeds are fixed."""
    draw, group = POPULATIONS[name], Group(8)
    truth = _gains_of(np.sort(draw(np.random.default_rng(99), 200_000))[50::100], group)
    covered = np.zeros(2)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        trials = np.full(200, rollouts)
        pool = fit_success_distribution(rng.binomial(trials, draw(rng, 200)).astype(float), trials)
        (gain,) = estimate_gains(pool, group, [2])
        for place, found in enumerate((gain.variance_left, gain.top_signal)):
            covered[place] += found.low - 0.005 <= truth[place] <= found.high + 0.005
    assert covered.min() >= 8


def _gains_of(probability, group):
    """The gains after two groups, from the probabilities themselves instead of counts."""
    rng = np.random.default_rng(0)
    signal, total = probability * (1 - probability), 2 * group.rollouts
    right = rng.binomial(total, probability) + 0.5
    expected = right * (total + 1 - right)
    counts = allocate(None, group.rollouts * len(signal), lower=3, upper=32, weight=expected).numpy()
    left = (signal / (counts - 1)).sum() / (signal / (group.rollouts - 1)).sum()
    best = np.argsort(-expected, kind="stable")[: len(signal) // 4]
    return left, signal[best].mean() / signal.mean()
