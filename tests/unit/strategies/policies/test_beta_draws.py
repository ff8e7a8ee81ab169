import torch

from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.policies.beta_draws import draw_success
from verl_vip.strategies.state import seeded_generator


def test_draws_have_the_predicted_moments():
    size = 20_000
    prediction = Prediction(torch.full((size,), 0.3), torch.full((size,), 0.02))
    draws = draw_success(prediction, seeded_generator(0))
    assert abs(draws.mean() - 0.3) < 0.005
    assert abs(draws.var() - 0.02) < 0.001
    assert torch.equal(draws, draw_success(prediction, seeded_generator(0)))
    assert not torch.equal(draws, draw_success(prediction, seeded_generator(1)))


def test_certainty_is_drawn_as_it_is():
    mean = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    assert torch.equal(draw_success(Prediction(mean, torch.zeros(3)), seeded_generator(0)), mean)
