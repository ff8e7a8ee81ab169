import pytest
import torch
from scipy.spatial.distance import pdist

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.baselines.gaussian_process import GaussianProcess, median_distance
from verl_vip.prediction.contract import Prompts

POOL, WIDTH = 30, 5


def prompts() -> Prompts:
    points = torch.randn(POOL, WIDTH, generator=torch.Generator().manual_seed(1))
    points = torch.nn.functional.normalize(points, dim=1)
    points[7] = points[3]  # two prompts with one embedding
    return Prompts(tuple(f"q{i}" for i in range(POOL)), points)


def steps(count: int, size: int):
    generator = torch.Generator().manual_seed(2)
    for _ in range(count):
        rows = torch.randperm(POOL - 6, generator=generator)[:size]  # the last six are never sampled
        trials = torch.randint(1, 9, (size,), generator=generator)
        yield rows, torch.round(torch.rand(size, generator=generator) * trials), trials


def dense_algorithm(lengthscale: float, eps: float, jitter: float, prior_mean: float) -> torch.Tensor:
    """Algorithm 1 of the paper over a pool that is known beforehand, with the whole covariance matrix."""
    points = prompts().embeddings.double()
    kernel = torch.exp(-torch.cdist(points, points).square() / (2 * lengthscale**2))
    mean = torch.full((POOL,), prior_mean, dtype=torch.float64)
    for rows, successes, trials in steps(6, 9):
        logits = torch.logit((successes.double() / trials).clamp(eps, 1 - eps))
        gram = kernel[rows][:, rows] + jitter * torch.eye(len(rows), dtype=torch.float64)
        mean = mean + kernel[:, rows] @ torch.linalg.solve(gram, logits - mean[rows])
        mean[rows] = logits
    return torch.sigmoid(mean)


@pytest.mark.parametrize(("lengthscale", "prior_mean"), [(0.5, -1.0), (1.3, 0.0)])
def test_it_equals_the_dense_algorithm(lengthscale, prior_mean):
    predictor = GaussianProcess(prior_mean, lengthscale, eps=1e-3, jitter=1e-2)
    for rows, successes, trials in steps(6, 9):
        predictor.observe(prompts().select(rows), successes, trials)
    expected = dense_algorithm(lengthscale, 1e-3, 1e-2, prior_mean)
    torch.testing.assert_close(predictor.predict(prompts()).mean, expected, rtol=0, atol=1e-9)


def test_observed_prompts_get_exactly_their_clipped_rate():
    predictor = GaussianProcess(eps=0.01)
    batch = prompts().select([3, 7, 20])
    predictor.observe(batch, torch.tensor([0.0, 4.0, 3.0]), torch.tensor([8, 8, 3]))
    torch.testing.assert_close(predictor.predict(batch).mean, torch.tensor([0.01, 0.5, 0.99], dtype=torch.float64))
    assert predictor.predict(batch).variance.tolist() == [0.0, 0.0, 0.0]


def test_noise_matches_textbook_regression_and_grows_confident_with_trials():
    batch = prompts().select([0, 1, 2])
    successes, trials = torch.tensor([0.0, 2.0, 40.0]), torch.tensor([4, 4, 40])
    predictor = GaussianProcess(lengthscale=0.7, jitter=1e-8, observation_noise=True)
    predictor.observe(batch, successes, trials)
    rate = (successes.double() + 0.5) / (trials + 1)
    noise = 1 / (trials * rate * (1 - rate))
    points = prompts().embeddings.double()
    kernel = torch.exp(-torch.cdist(points, points[:3]).square() / (2 * 0.7**2))
    mean = kernel @ torch.linalg.solve(kernel[:3] + torch.diag(noise), torch.logit(rate))
    torch.testing.assert_close(predictor.predict(prompts()).mean, torch.sigmoid(mean), rtol=0, atol=1e-6)


def test_the_median_heuristic_is_the_median_of_distances_between_different_prompts():
    points = prompts().embeddings.double()
    distances = torch.tensor(pdist(points.numpy()))
    assert median_distance(points) == pytest.approx(float(distances[distances > 0].median()))
    predictor = GaussianProcess()
    predictor.observe(prompts().select([0, 1]), torch.tensor([1.0, 2.0]), torch.tensor([4, 4]))
    first = predictor.metrics()["lengthscale"]
    predictor.observe(prompts().select([4, 9]), torch.tensor([1.0, 2.0]), torch.tensor([4, 4]))
    assert first == pytest.approx(float((points[0] - points[1]).norm()))
    assert predictor.metrics()["lengthscale"] == first


def test_without_two_different_prompts_the_lengthscale_is_one_and_this_is_said(caplog):
    predictor = GaussianProcess()
    predictor.observe(prompts().select([3, 7]), torch.tensor([1.0, 2.0]), torch.tensor([4, 4]))
    assert predictor.metrics()["lengthscale"] == 1.0
    assert "lengthscale is set to 1" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lengthscale": "mean"}, "lengthscale must be"),
        ({"lengthscale": 0.0}, "lengthscale must be"),
        ({"eps": 0.5}, "eps must be"),
        ({"jitter": 0.0}, "jitter must be"),
        ({"prior_mean": float("inf")}, "prior_mean must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        GaussianProcess(**settings)


def test_other_embeddings_are_refused():
    predictor = GaussianProcess()
    predictor.observe(prompts(), torch.zeros(POOL), torch.full((POOL,), 4))
    with pytest.raises(InvalidInputError, match="5 wide"):
        predictor.predict(Prompts(("new",), torch.zeros(1, WIDTH + 1)))
    with pytest.raises(InvalidInputError, match="finite"):
        predictor.predict(Prompts(("new",), torch.full((1, WIDTH), float("nan"))))
