from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm

from verl_vip.prediction.logistic_normal import match_binomial, probability_moments


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def integrals(log_density: Callable[[np.ndarray], np.ndarray], values: Callable[[np.ndarray], np.ndarray]):
    """Mean and variance of `values(g)` under an unnormalised density of `g`, on a fine grid."""
    grid = np.linspace(-60, 60, 240_001)
    log_mass = log_density(grid)
    mass = np.exp(log_mass - log_mass.max())
    mass /= mass.sum()
    mean = mass @ values(grid)
    return mean, mass @ (values(grid) - mean) ** 2


@pytest.mark.parametrize("mean", [-6.0, -1.0, 0.0, 3.0])
@pytest.mark.parametrize("variance", [0.1, 1.0, 9.0])
def test_moments_of_the_probability(mean, variance):
    found = probability_moments(f64(mean), f64(variance))
    exact = integrals(norm(mean, variance**0.5).logpdf, expit)
    assert tuple(map(float, found)) == pytest.approx(exact, abs=1e-4)


def test_without_uncertainty_the_probability_is_certain():
    expected, variance = probability_moments(f64(-2.0), f64(0.0))
    assert float(expected) == pytest.approx(expit(-2))
    assert float(variance) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("mean", "variance", "successes", "trials"),
    [(0, 1, 3, 8), (-2, 4, 0, 8), (-2, 4, 8, 8), (1, 0.2, 2.5, 4), (-8, 9, 0, 64), (-5, 9, 64, 64), (0, 4, 1, 1)],
)
def test_the_site_gives_the_moments_of_the_true_posterior(mean, variance, successes, trials):
    def log_posterior(g: np.ndarray) -> np.ndarray:
        return successes * g - trials * np.logaddexp(0, g) + norm(mean, variance**0.5).logpdf(g)

    true_mean, true_variance = integrals(log_posterior, lambda g: g)
    precision, shift = match_binomial(f64(mean), f64(variance), f64(successes), f64(trials))
    total = 1 / variance + float(precision)
    assert 1 / total == pytest.approx(true_variance, rel=2e-3)
    assert (mean / variance + float(shift)) / total == pytest.approx(true_mean, abs=2e-3)


@given(st.floats(-12, 12), st.floats(1e-3, 30), st.integers(1, 128), st.floats(0, 1), st.sampled_from([0.0, 1.0, None]))
def test_an_outcome_never_adds_uncertainty(mean, variance, trials, share, edge):
    successes = trials * (share if edge is None else edge)
    precision, shift = match_binomial(f64(mean), f64(variance), f64(successes), f64(trials))
    assert float(precision) > 0
    assert torch.isfinite(shift).all()
    # No outcome of n rollouts tells more about the logit than n / 4.
    assert float(precision) <= trials / 4 * 1.05 + 1e-6
