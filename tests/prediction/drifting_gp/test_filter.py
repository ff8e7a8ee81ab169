import pytest
import torch

from verl_vip.prediction.drifting_gp.filter import Neighbourhood, Residuals
from verl_vip.prediction.drifting_gp.logistic_normal import match_binomial

F64 = {"dtype": torch.float64}


def rand(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), **F64)


@pytest.mark.parametrize("drift", [None, 0.4 * rand(6, 4, seed=2)])
def test_an_update_is_the_textbook_one_for_the_matched_gaussians(drift):
    """Condition the joint Gaussian of weights and logits on the sites, with dense matrices."""
    m, b = 4, 6
    retention, variance = torch.full((m,), 0.9, **F64), torch.full((m,), 2.0, **F64)
    beliefs = Neighbourhood(variance)
    features = rand(b, m)
    rest = Residuals(0.3 * rand(b, seed=1), torch.rand(b, **F64), 0.5 + torch.rand(b, **F64), drift)
    successes, trials = torch.tensor([0, 1, 2, 3, 4, 8.0], **F64), torch.full((b,), 8.0, **F64)
    outlook = beliefs.ahead(retention, variance)
    mean, covariance = outlook.mean, outlook.root @ outlook.root.T
    rows = (1 - rest.pull)[:, None] * features + (0 if drift is None else drift)
    torch.testing.assert_close(rest.design(features), rows)
    centre, spread = rest.offset + rows @ mean, rows @ covariance @ rows.T + torch.diag(rest.variance)
    passing = 0.2
    precision, shift = match_binomial(centre, spread.diagonal() + passing, successes, trials)
    value, precision = shift / precision, 1 / (1 / precision + passing)
    gain = torch.linalg.inv(spread + torch.diag(1 / precision))
    surprise = value - centre
    new_mean = mean + covariance @ rows.T @ gain @ surprise
    new_covariance = covariance - covariance @ rows.T @ gain @ rows @ covariance
    logit_mean = centre + spread @ gain @ surprise
    logit_variance = (spread - spread @ gain @ spread).diagonal()

    after = beliefs.update(outlook, rows, rows @ outlook.root, rest, successes, trials, passing)
    torch.testing.assert_close(beliefs.mean, new_mean)
    torch.testing.assert_close(beliefs.covariance, new_covariance)
    kept = 1 - after.pull
    torch.testing.assert_close(after.offset + kept * (features @ beliefs.mean), logit_mean)
    if drift is None:
        explained = ((features @ beliefs.covariance) * features).sum(1)
        torch.testing.assert_close(after.variance + kept.square() * explained, logit_variance)


def test_what_moved_is_told_from_what_was_learned():
    """With beliefs that are already firm, surprise is movement; with new ones it is learning."""
    retention, variance = torch.tensor([0.99], **F64), torch.tensor([4.0], **F64)
    beliefs, features = Neighbourhood(variance), torch.ones(200, 1, **F64)
    fresh = Residuals(torch.zeros(200, **F64), torch.zeros(200, **F64), torch.full((200,), 0.1, **F64))
    trials = torch.full((200,), 8.0, **F64)
    low, high = torch.full((200,), 2.0, **F64), torch.full((200,), 4.0, **F64)

    def observe(successes: torch.Tensor) -> None:
        outlook = beliefs.ahead(retention, variance)
        beliefs.update(outlook, features, features @ outlook.root, fresh, successes, trials, 0.0)

    for _ in range(5):
        observe(low)
    assert abs(float(beliefs.travel)) < 0.15
    before = float(beliefs.mean)
    observe(high)
    assert float(beliefs.travel) > 0.85 * (float(beliefs.mean) - before) > 0.5


def test_beliefs_that_learn_nothing_stay_stationary():
    retention, variance = torch.tensor([0.5, 0.9], **F64), torch.tensor([4.0, 1.0], **F64)
    outlook = Neighbourhood(variance).ahead(retention, variance)
    torch.testing.assert_close(outlook.root @ outlook.root.T, torch.diag(variance))
    assert outlook.mean.tolist() == [0.0, 0.0]


def test_growing_adds_independent_weights():
    beliefs = Neighbourhood(torch.tensor([4.0], **F64))
    beliefs.grow(torch.tensor([1.0, 2.0], **F64))
    assert torch.equal(beliefs.covariance, torch.diag(torch.tensor([4.0, 1.0, 2.0], **F64)))
    assert beliefs.mean.shape == beliefs.travel.shape == (3,)


def test_reshaping_keeps_what_was_told_and_replaces_the_prior():
    """Against Bayes' rule with the other prior, in the other weights."""
    old, new = torch.full((4,), 2.0, **F64), torch.full((4,), 0.5, **F64)
    change = torch.eye(4, **F64) + 0.3 * rand(4, 4, seed=3).tril()
    rows, told = rand(6, 4, seed=4), rand(6, seed=5)
    beliefs = Neighbourhood(old)
    beliefs.covariance = torch.linalg.inv(torch.diag(1 / old) + rows.T @ rows)
    beliefs.mean = beliefs.covariance @ (rows.T @ told)
    beliefs.travel = rand(4, seed=6)
    travelled = beliefs.travel
    beliefs.reshape(change, old, new)
    moved = rows @ change
    expected = torch.linalg.inv(torch.diag(1 / new) + moved.T @ moved)
    torch.testing.assert_close(beliefs.covariance, expected)
    torch.testing.assert_close(beliefs.mean, expected @ (moved.T @ told))
    torch.testing.assert_close(change @ beliefs.travel, travelled)


def test_beliefs_wider_than_their_prior_become_the_prior():
    wide, narrow = torch.full((2,), 4.0, **F64), torch.full((2,), 1.0, **F64)
    beliefs = Neighbourhood(wide)
    beliefs.reshape(torch.eye(2, **F64), narrow, narrow)
    torch.testing.assert_close(beliefs.covariance, torch.eye(2, **F64))
