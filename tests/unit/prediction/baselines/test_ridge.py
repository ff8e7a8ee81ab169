import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.preprocessing import StandardScaler

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.baselines.ridge import Ridge
from verl_vip.prediction.contract import Prompts


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


def test_a_negative_penalty_is_refused():
    with pytest.raises(ConfigError, match="alpha"):
        Ridge(alpha=-1.0)
