import pytest
import torch
from scipy.stats import beta

from verl_vip.errors import ConfigError
from verl_vip.prediction.baselines.beta_table import BetaTable
from verl_vip.prediction.contract import Prompts

TWO = Prompts(("a", "b"), torch.zeros(2, 1))


def observe(table: BetaTable, successes: list[float], trials: list[int]) -> None:
    table.observe(TWO, torch.tensor(successes), torch.tensor(trials))


def test_without_decay_it_is_the_conjugate_posterior():
    table = BetaTable(prior_mean=0.25, prior_strength=4.0, decay=1.0)
    observe(table, [3, 0], [8, 4])
    observe(table, [1, 2], [2, 4])
    posterior = [beta(1 + 4, 3 + 6), beta(1 + 2, 3 + 6)]
    prediction = table.predict(TWO)
    assert prediction.mean.tolist() == pytest.approx([p.mean() for p in posterior])
    assert prediction.variance.tolist() == pytest.approx([p.var() for p in posterior])
    assert prediction.reward_variance.tolist() == pytest.approx([p.expect(lambda x: x * (1 - x)) for p in posterior])


def test_with_decay_the_prior_returns():
    table = BetaTable(prior_mean=0.5, prior_strength=2.0, decay=0.5)
    observe(table, [8, 0], [8, 8])
    observe(table, [0, 0], [8, 8])
    # first prompt: a = 1, 9, 5 and b = 1, 1, 9; second: a = 1, 1, 1 and b = 1, 9, 13
    assert table.predict(TWO).mean.tolist() == pytest.approx([5 / 14, 1 / 14])


@pytest.mark.parametrize("settings", [{"prior_mean": 1.0}, {"prior_strength": 0.0}, {"decay": 1.5}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        BetaTable(**settings)
