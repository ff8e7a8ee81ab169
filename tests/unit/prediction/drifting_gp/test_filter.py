import pytest
import torch

from verl_vip.prediction.drifting_gp.filter import KalmanFilter, Residuals
from verl_vip.prediction.logistic_normal import match_binomial

F64 = {"dtype": torch.float64}


def rand(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), **F64)


@pytest.mark.parametrize("drift", [None, 0.4 * rand(6, 4, seed=2)])
def test_an_update_is_the_textbook_one_for_the_matched_gaussians(drift):
    """Condition the joint Gaussian of weights and logits on the sites, with dense matrices."""
    m, b = 4, 6
    retention, variance = torch.full((m,), 0.9, **F64), torch.full((m,), 2.0, **F64)
    weights = KalmanFilter(variance)
    features = rand(b, m)
    residuals = Residuals(0.3 * rand(b, seed=1), torch.rand(b, **F64), 0.5 + torch.rand(b, **F64), drift)
    successes, trials = torch.tensor([0, 1, 2, 3, 4, 8.0], **F64), torch.full((b,), 8.0, **F64)
    prior = weights.predict(retention, variance)
    mean, covariance = prior.mean, prior.root @ prior.root.T
    rows = (1 - residuals.gain)[:, None] * features + (0 if drift is None else drift)
    torch.testing.assert_close(residuals.design(features), rows)
    centre = residuals.offset + rows @ mean
    logit_covariance = rows @ covariance @ rows.T + torch.diag(residuals.variance)
    visit_variance = 0.2
    precision, information = match_binomial(centre, logit_covariance.diagonal() + visit_variance, successes, trials)
    value, precision = information / precision, 1 / (1 / precision + visit_variance)
    inverse = torch.linalg.inv(logit_covariance + torch.diag(1 / precision))
    innovation = value - centre
    new_mean = mean + covariance @ rows.T @ inverse @ innovation
    new_covariance = covariance - covariance @ rows.T @ inverse @ rows @ covariance
    logit_mean = centre + logit_covariance @ inverse @ innovation
    logit_variance = (logit_covariance - logit_covariance @ inverse @ logit_covariance).diagonal()

    after = weights.update(prior, rows, rows @ prior.root, residuals, successes, trials, visit_variance)
    torch.testing.assert_close(weights.mean, new_mean)
    torch.testing.assert_close(weights.covariance, new_covariance)
    complement = 1 - after.gain
    torch.testing.assert_close(after.offset + complement * (features @ weights.mean), logit_mean)
    if drift is None:
        explained = ((features @ weights.covariance) * features).sum(1)
        torch.testing.assert_close(after.variance + complement.square() * explained, logit_variance)


def test_movement_is_separated_from_learning():
    """Once the posterior is narrow, an innovation is movement; before, it is learning."""
    retention, variance = torch.tensor([0.99], **F64), torch.tensor([4.0], **F64)
    weights, features = KalmanFilter(variance), torch.ones(200, 1, **F64)
    fresh = Residuals(torch.zeros(200, **F64), torch.zeros(200, **F64), torch.full((200,), 0.1, **F64))
    trials = torch.full((200,), 8.0, **F64)
    low, high = torch.full((200,), 2.0, **F64), torch.full((200,), 4.0, **F64)

    def observe(successes: torch.Tensor) -> None:
        prior = weights.predict(retention, variance)
        weights.update(prior, features, features @ prior.root, fresh, successes, trials, 0.0)

    for _ in range(5):
        observe(low)
    assert abs(float(weights.displacement)) < 0.15
    before = float(weights.mean)
    observe(high)
    assert float(weights.displacement) > 0.85 * (float(weights.mean) - before) > 0.5


def test_without_outcomes_the_weights_stay_stationary():
    retention, variance = torch.tensor([0.5, 0.9], **F64), torch.tensor([4.0, 1.0], **F64)
    prior = KalmanFilter(variance).predict(retention, variance)
    torch.testing.assert_close(prior.root @ prior.root.T, torch.diag(variance))
    assert prior.mean.tolist() == [0.0, 0.0]


def test_growing_adds_independent_weights():
    weights = KalmanFilter(torch.tensor([4.0], **F64))
    weights.grow(torch.tensor([1.0, 2.0], **F64))
    assert torch.equal(weights.covariance, torch.diag(torch.tensor([4.0, 1.0, 2.0], **F64)))
    assert weights.mean.shape == weights.displacement.shape == (3,)


def test_a_change_of_basis_keeps_the_likelihood_and_replaces_the_prior():
    """Against Bayes' rule with the other prior, in the other weights."""
    old, new = torch.full((4,), 2.0, **F64), torch.full((4,), 0.5, **F64)
    basis = torch.eye(4, **F64) + 0.3 * rand(4, 4, seed=3).tril()
    rows, observed = rand(6, 4, seed=4), rand(6, seed=5)
    weights = KalmanFilter(old)
    weights.covariance = torch.linalg.inv(torch.diag(1 / old) + rows.T @ rows)
    weights.mean = weights.covariance @ (rows.T @ observed)
    weights.displacement = rand(4, seed=6)
    displacement = weights.displacement
    weights.change_basis(basis, old, new)
    moved = rows @ basis
    expected = torch.linalg.inv(torch.diag(1 / new) + moved.T @ moved)
    torch.testing.assert_close(weights.covariance, expected)
    torch.testing.assert_close(weights.mean, expected @ (moved.T @ observed))
    torch.testing.assert_close(basis @ weights.displacement, displacement)


def test_a_posterior_wider_than_its_prior_becomes_the_prior():
    wide, narrow = torch.full((2,), 4.0, **F64), torch.full((2,), 1.0, **F64)
    weights = KalmanFilter(wide)
    weights.change_basis(torch.eye(2, **F64), narrow, narrow)
    torch.testing.assert_close(weights.covariance, torch.eye(2, **F64))
