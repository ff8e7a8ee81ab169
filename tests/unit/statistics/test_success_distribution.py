"""The distribution of success probabilities is estimated, not the spread of raw rates, and its interval covers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from verl_vip.errors import InvalidInputError
from verl_vip.statistics.success_distribution import GRID, fit_success_distribution

LOW, HIGH = 0.05, 0.95
#: Populations by name: how to draw probabilities, and the share between LOW and HIGH.
POPULATIONS = {
    "U-shaped": (lambda rng, size: rng.beta(0.3, 0.3, size), float(np.diff(beta(0.3, 0.3).cdf([LOW, HIGH]))[0])),
    "uniform": (lambda rng, size: rng.random(size), HIGH - LOW),
    "one point": (lambda rng, size: np.full(size, 0.5), 1.0),
    "hopeless": (lambda rng, size: np.zeros(size), 0.0),
    "three points": (lambda rng, size: rng.choice([0.0, 0.3, 1.0], size, p=[0.4, 0.3, 0.3]), 0.3),
}


def fit(rng, probabilities, rollouts):
    trials = np.broadcast_to(rollouts, probabilities.shape)
    return fit_success_distribution(rng.binomial(trials, probabilities).astype(float), trials)


@pytest.mark.parametrize("rollouts", [2, 8, 16])
@pytest.mark.parametrize("name", POPULATIONS)
def test_the_interval_of_the_share_covers(name, rollouts):
    """In at least 17 of 20 samples: at 95 % coverage, fewer would occur in 2 % of all runs. The seed is fixed."""
    draw, truth = POPULATIONS[name]
    rng = np.random.default_rng(rollouts)
    shares = [fit(rng, draw(rng, 300), rollouts).share(LOW, HIGH) for _ in range(20)]
    assert sum(share.low <= truth + 1e-3 and truth - 1e-3 <= share.high for share in shares) >= 17
    assert all(0 <= share.low <= share.value <= share.high <= 1 for share in shares)


def test_more_rollouts_tell_more():
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.3, 0.3, 1000)
    widths = [2 * fit(rng, probabilities, rollouts).share(LOW, HIGH).half_width for rollouts in (1, 2, 8, 128)]
    assert widths[0] == 1  # one rollout of each prompt tells the mean alone
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.25


def test_raw_rates_would_be_wrong():
    """Prompts of probability 1/10: 43 % of their groups of 8 look hopeless, and yet all can teach."""
    found = fit(np.random.default_rng(0), np.full(500, 0.1), 8).share(LOW, HIGH)
    assert found.value > 0.9
    assert found.high == 1


@settings(max_examples=30, deadline=None)
@given(groups=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40), st.integers(1, 30)), min_size=1, max_size=8))
def test_no_distribution_explains_the_counts_better(groups):
    """The largest log likelihood is above that of any single distribution tried, and near that of many EM steps."""
    rng = np.random.default_rng(0)
    probability = np.concatenate([np.full(size, p) for p, _, size in groups])
    rollouts = np.concatenate([np.full(size, n) for _, n, size in groups])
    found = fit(rng, probability, rollouts)
    weight = found.weight
    assert weight.min() >= 0
    assert weight.sum() == pytest.approx(1)

    def value(weights):
        return float(found.frequency @ np.log(found.likelihood @ weights))

    best = found.most_likely
    assert value(weight) >= best - 0.75
    for _ in range(300):
        weight = weight * ((found.frequency / (found.likelihood @ weight)) @ found.likelihood) / len(probability)
    assert value(weight) <= best + 1e-4
    share = found.share(LOW, HIGH)
    for limit in share.limits:
        held = found.with_share(LOW, HIGH, limit)
        assert held.weight[(GRID > LOW) & (GRID < HIGH)].sum() == pytest.approx(limit, abs=1e-6)
        assert value(held.weight) >= best - 1.93


@settings(max_examples=10, deadline=None)
@given(
    probability=st.lists(st.floats(0, 1), min_size=1, max_size=6),
    rollouts=st.integers(1, 16),
    values=st.lists(st.floats(-1, 1), min_size=4, max_size=4),
)
def test_the_largest_mean_is_that_of_a_possible_distribution(probability, rollouts, values):
    found = fit(np.random.default_rng(0), np.repeat(probability, 30), rollouts)
    curve = np.polynomial.Polynomial(values)(GRID)
    extreme = found.with_largest(curve)
    assert extreme.weight.min() >= -1e-9
    assert extreme.weight.sum() == pytest.approx(1)
    assert found.frequency @ np.log(found.likelihood @ extreme.weight) >= found.most_likely - 1.93
    assert extreme.mean_of(curve) >= found.mean_of(curve) - 1e-9


@pytest.mark.parametrize("rollouts", [2, 8])
@pytest.mark.parametrize("name", POPULATIONS)
def test_the_extremes_of_a_share_are_its_limits(name, rollouts):
    """Planes and the profile likelihood find the same limits, two ways that share no code."""
    rng = np.random.default_rng(0)
    found = fit(rng, POPULATIONS[name][0](rng, 300), rollouts)
    inside = ((LOW < GRID) & (HIGH > GRID)).astype(float)
    low, high = (found.with_largest(sign * inside).mean_of(inside) for sign in (-1, 1))
    assert (low, high) == pytest.approx(found.share(LOW, HIGH).limits, abs=0.02)


def test_the_marginal_fits_what_was_seen():
    """Of the groups, as many are expected at each count as there are, where the model is right."""
    rng = np.random.default_rng(1)
    rollouts = 8
    successes = rng.binomial(rollouts, rng.beta(0.5, 1.0, 4000))
    found = fit_success_distribution(successes.astype(float), np.full(4000, rollouts))
    seen = np.bincount(successes, minlength=rollouts + 1) / 4000
    expected = [found.mean_of(binom.pmf(k, rollouts, GRID)) for k in range(rollouts + 1)]
    assert np.abs(seen - expected).max() < 0.01


def test_many_rollouts_and_graded_successes_are_counted():
    many = fit_success_distribution(np.array([0.0, 5000.0, 9999.0]), np.array([10_000, 10_000, 10_000]))
    assert many.share(LOW, HIGH).value == pytest.approx(1 / 3, abs=0.05)
    graded = fit_success_distribution(np.full(50, 3.6), np.full(50, 8))
    assert graded.mean_of(GRID) == pytest.approx(3.5 / 8, abs=0.05)
    assert np.sort(many.quantiles(99)).tolist() == many.quantiles(99).tolist()


@pytest.mark.parametrize(
    ("successes", "trials"), [([], []), ([1.0], [1, 1]), ([2.0], [1]), ([0.0], [0]), ([-1.0], [1]), ([np.nan], [1])]
)
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(InvalidInputError):
        fit_success_distribution(np.array(successes), np.array(trials, dtype=np.int64))


@pytest.mark.parametrize("limits", [(-1, 2), (0.5, 0.5), (0.9, 0.1)])
def test_limits_must_cut_the_range(limits):
    with pytest.raises(InvalidInputError, match="cut the range"):
        fit_success_distribution(np.ones(3), np.full(3, 2)).share(*limits)
