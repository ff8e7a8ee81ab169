import pytest
import torch

from verl_vip.errors import ConfigError
from verl_vip.prediction.baselines.moving_average import MovingAverage
from verl_vip.prediction.contract import Prompts


def test_it_averages_the_prompts_of_the_last_two_steps():
    predictor = MovingAverage(window=2)
    for successes in ([8.0], [4.0], [0.0, 2.0]):
        ids = tuple(f"q{i}" for i in range(len(successes)))
        trials = torch.full((len(ids),), 8)
        predictor.observe(Prompts(ids, torch.zeros(len(ids), 1)), torch.tensor(successes), trials)
    assert predictor.predict(Prompts(("new",), torch.zeros(1, 1))).mean.tolist() == [0.75 / 3]


def test_an_empty_window_is_refused():
    with pytest.raises(ConfigError, match="window"):
        MovingAverage(window=0)
