import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.preprocessing import StandardScaler

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.baselines.ridge import Ridge
from verl_vip.prediction.contract import Covariates, Prompts


def test_it_is_ridge_regression_on_standardised_features():
    points = torch.randn(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[:, 4] = 2.0  # a constant feature
    prompts = Prompts(tuple(str(i) for i in range(20)), points)
    successes = torch.arange(20) % 9
    predictor = Ridge(alpha=0.7)
    predictor.observe(prompts, successes.float(), torch.full((20,), 8))
    scaler = StandardScaler().fit(points.numpy())
    model = SklearnRidge(alpha=0.7).fit(scaler.transform(points.numpy()), successes.numpy() / 8)
    expected = torch.from_numpy(model.predict(scaler.transform(points.numpy()))).clamp(0, 1)
    torch.testing.assert_close(predictor.predict(prompts).mean, expected, rtol=0, atol=1e-9)
    with pytest.raises(InvalidInputError, match="30 wide"):
        predictor.predict(Prompts(("a",), torch.zeros(1, 3)))


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e-12, 1.0])
def test_a_feature_that_is_constant_up_to_rounding_leaves_a_state_that_can_be_restored(size):
    points = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[:, 1] *= size
    predictor, restored = Ridge(), Ridge()
    predictor.observe(Prompts(tuple(map(str, range(8))), points), torch.arange(8.0), torch.full((8,), 8))
    restored.load_state_dict(predictor.state_dict())


def test_covariates_are_features_too():
    known = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    prompts = Prompts(tuple(map(str, range(8))), torch.zeros(8, 2), None, Covariates(known, ("known",)))
    predictor = Ridge()
    predictor.observe(prompts, torch.arange(8.0), torch.full((8,), 8))
    assert (predictor.predict(prompts).mean.diff() > 0.05).all()
    with pytest.raises(InvalidInputError, match="3 wide"):
        predictor.predict(Prompts(("a",), torch.zeros(1, 2)))


def test_a_negative_penalty_is_refused():
    with pytest.raises(ConfigError, match="alpha"):
        Ridge(alpha=-1.0)
