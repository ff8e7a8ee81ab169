import itertools

import numpy as np
import pytest

from verl_vip.allocation import DrGrpo, PredictedBaseline, Rloo, allocate
from verl_vip.errors import InvalidInputError


def gradient_variance(n, draw_success, baseline, offset=0.7, repeats=400_000):
    """Variance of mean_j (r_j - b_j) Z_j with Z standard normal plus the offset, r and Z independent."""
    rng = np.random.default_rng(0)
    p = draw_success(rng, repeats)
    reward = (rng.random((repeats, n)) < p[:, None]).astype(float)
    score = rng.standard_normal((repeats, n)) + offset
    return ((reward - baseline(reward)) * score).mean(axis=1).var()


@pytest.mark.parametrize(("n", "p"), [(2, 0.5), (4, 0.3), (8, 0.1)])
def test_rloo_and_dr_grpo_are_the_measured_variances(n, p):
    def fixed(_, repeats):
        return np.full(repeats, p)

    def others(reward):
        return (reward.sum(axis=1, keepdims=True) - reward) / (n - 1)

    v = p * (1 - p)
    measured = gradient_variance(n, fixed, others)
    assert Rloo([v]).value(np.array([n]))[0] == pytest.approx(measured, rel=0.02)
    measured = gradient_variance(n, fixed, lambda reward: reward.mean(axis=1, keepdims=True))
    assert DrGrpo([v]).value(np.array([n]))[0] == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize(("n", "p", "strength"), [(1, 0.3, 4.0), (3, 0.6, 0.5), (6, 0.2, 10.0)])
def test_predicted_baseline_is_the_measured_variance(n, p, strength):
    def belief(rng, repeats):
        return rng.beta(strength * p, strength * (1 - p), repeats)

    def posterior_mean(reward):
        return (strength * p + reward.sum(axis=1, keepdims=True) - reward) / (strength + n - 1)

    expected_variance = p * (1 - p) * strength / (strength + 1)
    predicted = PredictedBaseline([expected_variance], strength).value(np.array([n]))[0]
    assert predicted == pytest.approx(gradient_variance(n, belief, posterior_mean, offset=0), rel=0.02)
    with_offset = predicted * (1 + 0.7**2 * strength / (strength + n - 1))
    assert with_offset == pytest.approx(gradient_variance(n, belief, posterior_mean), rel=0.02)


def test_predicted_baseline_runs_from_rloo_to_a_known_probability():
    n = np.arange(2, 40)[:, None]
    np.testing.assert_allclose(PredictedBaseline([1.0], 0.0).shape(n), Rloo([1.0]).shape(n))
    np.testing.assert_allclose(PredictedBaseline([1.0], float("inf")).shape(n), 1 / n)
    mixed = PredictedBaseline([1.0, 1.0], [0.0, np.inf]).shape(n)
    np.testing.assert_allclose(mixed, np.hstack([1 / (n - 1), 1 / n]))
    assert PredictedBaseline([1.0, 1.0], [0.5, 2.0]).min_rollouts == 1
    assert PredictedBaseline([1.0, 1.0], [0.0, 2.0]).min_rollouts == 2


@pytest.mark.parametrize("strength", [-1.0, float("nan"), [1.0], [1.0, -2.0]])
def test_strength_is_checked(strength):
    with pytest.raises(InvalidInputError, match="strength"):
        PredictedBaseline([1.0, 1.0], strength)


@pytest.mark.parametrize(
    ("weight", "price", "count"),
    [
        (0.25, 0.001, 14.6961743406),
        (0.09, 0.0005, 12.2748408326),
        (1.0, 1e-4, 98.9845863754),
        (0.25, 0.25 / 27, 3),
    ],
)
def test_largest_root_of_the_cubic(weight, price, count):
    assert DrGrpo([weight]).stationary(np.array([weight / price]))[0] == pytest.approx(count, rel=1e-11)


@pytest.mark.parametrize("exponent", range(2, 200, 15))
def test_root_keeps_its_digits_at_large_ratios(exponent):
    ratio = np.array([10.0**exponent])
    n = DrGrpo([1.0]).stationary(ratio)
    assert DrGrpo([1.0]).slope(n) * ratio == pytest.approx(1.0, rel=1e-13)


def test_dr_grpo_below_three_is_not_a_matter_of_greed():
    # The third rollout of a group gains less than the fourth, so that one prompt should take both.
    gains = DrGrpo([1.0]).shape_gain(np.array([2, 3, 4]))
    np.testing.assert_allclose(gains, [1 / 36, 5 / 144, 11 / 400])
    objective = DrGrpo([1.0, 1.1])
    splits = [c for c in itertools.product(range(2, 6), repeat=2) if sum(c) == 6]
    best = min(splits, key=lambda c: objective.value(np.array(c)).sum())
    assert best == (2, 4)


def test_weights_of_other_goals():
    p = np.array([0.05, 0.2, 0.5, 0.8, 0.95])
    log_success = allocate(None, 60, lower=3, upper=40, objective=Rloo((1 - p) / p))
    assert (log_success.diff() < 0).all()
    arcsine = allocate(None, 60, lower=3, upper=40, objective=Rloo(np.ones(5)))
    assert arcsine.tolist() == [12] * 5


def test_what_the_best_real_counts_save_for_uniform_success():
    # With no bound active the ratio to equal counts is (sum sqrt a)^2 / (B sum a), and p is spread evenly.
    p = (np.arange(20_000) + 0.5) / 20_000
    counts = allocate(p, 200 * p.size, lower=2, upper=1000).numpy()
    objective = Rloo(p * (1 - p))
    ratio = objective.value(counts).sum() / objective.value(np.full(p.size, 200)).sum()
    assert ratio == pytest.approx(6 * (np.pi / 8) ** 2, rel=1e-3)
