import math
from dataclasses import replace

import pytest
import torch
from scipy.integrate import dblquad
from scipy.special import expit
from scipy.stats import multivariate_normal

from verl_vip.prediction.drifting_gp.clusters import Clusters
from verl_vip.prediction.drifting_gp.fit import (
    LEVEL_VARIANCE,
    Hyperparameters,
    VisitCovariance,
    approximate,
    fit,
    laplace_mode,
)
from verl_vip.prediction.drifting_gp.kernel import Kernel
from verl_vip.prediction.drifting_gp.panel import PanelVisits


def test_the_evidence_is_close_to_the_integral_and_the_mode_is_stationary():
    kernel = torch.tensor([[1.5, 0.9], [0.9, 1.2]], dtype=torch.float64)
    successes, trials = torch.tensor([9.0, 2.0], dtype=torch.float64), torch.tensor([12.0, 16.0], dtype=torch.float64)
    start = torch.zeros(2, dtype=torch.float64)
    for mode in (laplace_mode(kernel, successes, trials, start), approximate(kernel, successes, trials, start).mode):
        slope = successes - trials * torch.sigmoid(mode) - torch.linalg.solve(kernel, mode)
        assert slope.abs().max() < 1e-3
    prior = multivariate_normal([0, 0], kernel.numpy())

    def integrand(b: float, a: float) -> float:
        return expit(a) ** 9 * expit(-a) ** 3 * expit(b) ** 2 * expit(-b) ** 14 * prior.pdf([a, b])

    exact = math.log(dblquad(integrand, -6, 6, -6, 6, epsabs=1e-16, epsrel=1e-6)[0])
    assert approximate(kernel, successes, trials, start).evidence == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("position", range(9))
def test_each_derivative_is_that_of_the_whole_evidence(position):
    """By finite differences, at visits of which some are to one prompt."""
    visits = drawn(Hyperparameters(), 12, 3, 7.0, rollouts=6.0)
    covariance = VisitCovariance(visits, kernel(12), of_covariates(visits))
    where = torch.tensor([0.7, 1.5, 0.4, 0.6, 0.8, 0.3, 40.0, 12.0, 25.0], dtype=torch.float64).log()
    start = torch.zeros_like(visits.successes)

    def evidence(shift: float) -> float:
        moved = where.clone()
        moved[position] += shift
        return approximate(covariance.at(moved.exp()), visits.successes, visits.trials, start).evidence

    numeric = (evidence(1e-3) - evidence(-1e-3)) / 2e-3
    laplace = approximate(covariance.at(where.exp()), visits.successes, visits.trials, start)
    found = float(covariance.gradient(laplace.slope)[position])
    assert found == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_the_covariance_is_the_sum_of_its_parts():
    truth = Hyperparameters(0.7, 1.5, 0.4, 0.6, 0.8, 0.3, 40.0, 12.0, 25.0)
    visits = drawn(truth, 12, 3, 7.0)
    values = torch.tensor(list(truth.to_dict().values()))
    expected = prior_covariance(truth, visits, 12)
    torch.testing.assert_close(VisitCovariance(visits, kernel(12)).at(values), expected, rtol=0, atol=1e-4)
    known = of_covariates(visits)
    expected += known * torch.exp((visits.time[:, None] - visits.time).abs() / -truth.level_steps)
    torch.testing.assert_close(VisitCovariance(visits, kernel(12), known).at(values), expected, rtol=0, atol=1e-4)


def of_covariates(visits: PanelVisits) -> torch.Tensor:
    """The prior covariance of what two covariates explain."""
    values = torch.randn(12, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)[visits.prompt]
    return 0.3 * values @ values.T


def points(prompts: int) -> torch.Tensor:
    drawn = torch.randn(prompts, 6, generator=torch.Generator().manual_seed(2))
    return torch.nn.functional.normalize(drawn, dim=1) + 1


def kernel(prompts: int) -> Kernel:
    return Kernel.from_embeddings(points(prompts)).with_clusters(Clusters.fit(points(prompts)))


def prior_covariance(truth: Hyperparameters, visits: PanelVisits, prompts: int) -> torch.Tensor:
    """The visits' covariance, with the kernel that predictions use."""
    lag = (visits.time[:, None] - visits.time).abs()
    return (
        LEVEL_VARIANCE * torch.exp(-lag / truth.level_steps)
        + truth.shared_variance
        * truth.kernel(kernel(prompts))(visits.embeddings, visits.embeddings)
        * torch.exp(-lag / truth.neighbour_steps)
        + truth.prompt_variance * (visits.prompt[:, None] == visits.prompt) * torch.exp(-lag / truth.prompt_steps)
        + torch.diag(truth.visit_variance / visits.visits)
    )


def drawn(truth: Hyperparameters, prompts: int, visits: int, gap: float, rollouts: float = 32.0) -> PanelVisits:
    """Outcomes of a pool drawn from the model itself."""
    generator = torch.Generator().manual_seed(3)
    prompt = torch.arange(prompts).repeat(visits)
    time = gap * torch.arange(visits, dtype=torch.float64).repeat_interleave(prompts)
    empty = torch.zeros(len(prompt), dtype=torch.float64)
    # Every other record is of two visits.
    pooled = 1 + torch.arange(len(prompt)).double() % 2
    visits = PanelVisits(points(prompts)[prompt], torch.zeros(len(prompt), 0), prompt, time, empty, empty, pooled)
    covariance = prior_covariance(truth, visits, prompts)
    root = torch.linalg.cholesky(covariance + 1e-6 * torch.eye(len(covariance), dtype=torch.float64))
    logits = root @ torch.randn(len(covariance), generator=generator, dtype=torch.float64)
    trials = torch.full_like(logits, rollouts)
    won = torch.binomial(trials, torch.sigmoid(logits), generator)
    return replace(visits, successes=won, trials=trials)


def test_it_finds_what_the_outcomes_were_drawn_with():
    truth = Hyperparameters(0.6, 2.0, 0.7, 2.0, 1.0, 0.05, 30.0, 30.0, 100.0)
    visits = drawn(truth, 160, 3, 10.0)
    found = fit(visits, Hyperparameters(), Hyperparameters(), kernel(160))
    for name, value in truth.to_dict().items():
        assert value / 2.5 < found.to_dict()[name] < value * 2.5, (name, found)


def test_correlated_rollouts_are_told_from_independent_ones():
    known = kernel(90)
    found = {}
    for visit_variance in (1e-4, 1.0):
        truth = Hyperparameters(visit_variance=visit_variance)
        found[visit_variance] = fit(drawn(truth, 90, 4, 1.0), Hyperparameters(), Hyperparameters(), known)
    assert found[1e-4].visit_variance < 0.1
    assert 0.5 < found[1.0].visit_variance < 2
