"""What the drifting process learns from covariates, what useless ones cost, and how they survive drift and a resume."""

import io
from dataclasses import replace

import pytest
import torch

from verl_vip.allocation import allocate
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Covariates, Prompts
from verl_vip.prediction.drifting_gp import predictor as predictor_module
from verl_vip.prediction.drifting_gp.covariate_effects import CovariateEffects
from verl_vip.prediction.drifting_gp.predictor import DriftingGaussianProcess
from verl_vip.strategies.gradient_variance import GradientVariance

SIZE, BATCH, ROLLOUTS = 160, 32, 8


@pytest.fixture(autouse=True)
def without_clusters(monkeypatch):
    """The embeddings here tell nothing, and most of the time would go into clustering them."""
    monkeypatch.setattr(predictor_module.Clusters, "fit", lambda _: None)


class Pool:
    """Prompts whose embeddings tell nothing, and whose logits depend on a known number."""

    def __init__(self, seed: int, slope: float = 0.0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.known = self.normal(SIZE)
        self.prompts = Prompts(tuple(f"p{row}" for row in range(SIZE)), self.normal(SIZE, 4).float())
        self.logits = slope * self.known + self.normal(SIZE)

    def normal(self, *size: int) -> torch.Tensor:
        return torch.randn(*size, generator=self.generator, dtype=torch.float64)

    def noise(self, columns: int) -> Covariates:
        return Covariates(self.normal(SIZE, columns), tuple(f"noise {column}" for column in range(columns)))


def with_known(pool: Pool) -> Prompts:
    return replace(pool.prompts, covariates=Covariates(pool.known[:, None], ("known",)))


def learn(pool: Pool, prompts: Prompts, predictor: DriftingGaussianProcess, epochs: int, seed: int = 0):
    """Yield the prediction and the true probabilities of each batch, before it is observed."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(SIZE, generator=generator).split(BATCH):
            truth = torch.sigmoid(pool.logits[rows])
            batch, trials = prompts.select(rows), torch.full((BATCH,), ROLLOUTS)
            yield predictor.predict(batch), truth
            predictor.observe(batch, torch.binomial(trials.double(), truth, generator), trials)


def small() -> DriftingGaussianProcess:
    return DriftingGaussianProcess(features=16)


def variance_left(steps) -> tuple[float, float]:
    """Return RLOO's variance with the allocator's counts relative to equal counts, and the mean log loss."""
    own = even = loss = 0.0
    for prediction, truth in steps:
        objective = GradientVariance("rloo").objective(prediction)
        counts = allocate(None, ROLLOUTS * BATCH, lower=3, upper=32, objective=objective)
        signal, mean = truth * (1 - truth), prediction.mean.clamp(1e-3, 1 - 1e-3)
        own += float((signal / (counts - 1)).sum())
        even += float((signal / (ROLLOUTS - 1)).sum())
        loss -= float((truth * mean.log() + (1 - truth) * (1 - mean).log()).mean())
    return own / even, loss


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_sign_and_size_are_learned_and_tell_of_prompts_never_sampled(sign):
    pool = Pool(0, slope=2 * sign)
    prompts, predictor = with_known(pool), small()
    steps = list(learn(pool, prompts, predictor, 1))
    known = torch.cat([torch.stack([prediction.mean, truth]) for prediction, truth in steps[2:]], 1)
    assert float(torch.corrcoef(known)[0, 1]) > 0.7
    assert predictor.metrics()["covariate/known"] > 1


def test_columns_of_noise_cost_nothing():
    """Over several pools, and with a useful column beside them."""
    for slope in (0.0, 2.0):
        found = []
        for seed in range(3):
            pool = Pool(seed, slope)
            without = with_known(pool) if slope else pool.prompts
            noise = pool.noise(6)
            if slope:
                values = torch.cat([pool.known[:, None], noise.values], 1)
                noise = Covariates(values, ("known", *noise.columns))
            plain = variance_left(learn(pool, without, small(), 2))
            noisy = variance_left(learn(pool, replace(pool.prompts, covariates=noise), small(), 2))
            found.append([noisy[0] - plain[0], (noisy[1] - plain[1]) / 10])
        differences = torch.tensor(found).mean(0)
        assert float(differences[0]) < 0.015
        assert float(differences[1]) < 0.015


def test_an_effect_that_turns_is_followed():
    pool = Pool(0, slope=2.0)
    prompts, predictor = with_known(pool), small()
    for _ in learn(pool, prompts, predictor, 2):
        pass
    pool.logits -= 4 * pool.known
    for _ in learn(pool, prompts, predictor, 4, seed=1):
        pass
    new = replace(with_known(pool), ids=tuple(f"new {row}" for row in range(SIZE)))
    assert float(torch.corrcoef(torch.stack([predictor.predict(new).mean, pool.known]))[0, 1]) < -0.7


def test_categories_have_means_of_their_own():
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(3, (SIZE,), generator=generator)
    pool = Pool(0)
    pool.logits = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)[group] + 0.3 * pool.normal(SIZE)
    values = torch.nn.functional.one_hot(group, 3).double()
    prompts = replace(pool.prompts, covariates=Covariates(values, ("source",) * 3))
    predictor = small()
    for _ in learn(pool, prompts, predictor, 1):
        pass
    new = replace(prompts, ids=tuple(f"new {row}" for row in range(SIZE)))
    mean = predictor.predict(new).mean
    low, middle, high = (float(mean[group == number].mean()) for number in range(3))
    assert low < 0.3
    assert 0.4 < middle < 0.6
    assert high > 0.7


def test_a_restored_predictor_goes_on_with_the_same_weights():
    pool = Pool(0, slope=2.0)
    prompts, predictor = with_known(pool), small()
    for _ in learn(pool, prompts, predictor, 1):
        pass
    buffer = io.BytesIO()
    torch.save(predictor.state_dict(), buffer)
    buffer.seek(0)
    restored = small()
    restored.load_state_dict(torch.load(buffer, weights_only=True))
    pairs = zip(learn(pool, prompts, predictor, 1, seed=1), learn(pool, prompts, restored, 1, seed=1), strict=True)
    for (one, _), (other, _) in pairs:
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.variance, other.variance)


def test_other_columns_are_refused_and_none_at_all_is_as_the_average():
    pool = Pool(0, slope=2.0)
    prompts, predictor = with_known(pool), small()
    for _ in learn(pool, prompts, predictor, 1):
        pass
    with pytest.raises(InvalidInputError, match=r"must be \['known'\], as those observed before; got \['noise 0'\]"):
        predictor.predict(replace(pool.prompts, covariates=pool.noise(1)))
    average = replace(pool.prompts, covariates=Covariates(torch.zeros(SIZE, 1).double(), ("known",)))
    assert torch.equal(predictor.predict(pool.prompts).mean, predictor.predict(average).mean)


def test_before_the_first_outcome_covariates_tell_nothing():
    pool = Pool(0)
    prediction = small().predict(replace(pool.prompts, covariates=pool.noise(3)))
    assert (prediction.mean == prediction.mean[0]).all()
    assert (prediction.variance == prediction.variance[0]).all()


def test_columns_share_the_prior_variance_and_their_own_numbers_share_theirs():
    effects = CovariateEffects(("a", "b", "b"))
    assert effects.variance.tolist() == [0.25] * 3
    effects.refit(torch.tensor([0.0, 1.0, 2.0]).double(), torch.diag(torch.tensor([0.0, 0.5, 0.5]).double()))
    assert effects.variance.tolist() == [1e-3, 3.0, 3.0]
