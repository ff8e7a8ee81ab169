import pytest
import torch

from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.drifting_gp.predictor import DriftingGaussianProcess
from verl_vip.prediction.drifting_gp.variance_ratio import VarianceRatio
from verl_vip.prediction.observations import pool

IDS = tuple(f"q{i}" for i in range(40))
PROMPTS = Prompts(IDS, torch.nn.functional.normalize(torch.randn(40, 6, generator=torch.Generator().manual_seed(0))))


def sums(rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return rewards.sum(1), torch.full((len(rewards),), rewards.shape[1]), rewards.square().sum(1)


def partial_rewards(seed: int) -> torch.Tensor:
    """The first half of the prompts pays 0 or 1, the second 0.3 to 0.7."""
    rewards = torch.rand(40, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rewards[:20] = (rewards[:20] < 0.5).double()
    rewards[20:] = 0.3 + 0.4 * rewards[20:]
    return rewards


def test_it_finds_the_ratio_of_variances():
    ratio = VarianceRatio()
    for seed in range(30):
        won, tried, squares = sums(partial_rewards(seed))
        ratio.observe(pool(PROMPTS, won, tried, squares))
    found = ratio.predict((*IDS, "new"))
    true = 0.4**2 / 12 / 0.25
    # What is not yet certain of a prompt leans to the ratio of all.
    assert (found[:20] > 0.85).all()
    assert (found[20:40] < true + 0.15).all()
    assert float(found[40]) == pytest.approx((1 + true) / 2, abs=0.05)


def test_with_binary_rewards_it_is_exactly_one():
    ratio, generator = VarianceRatio(), torch.Generator().manual_seed(0)
    for _ in range(20):
        won = torch.randint(0, 9, (40,), generator=generator).double()
        ratio.observe(pool(PROMPTS, won, torch.full((40,), 8)))
    assert (ratio.predict((*IDS, "new")) == 1).all()


def test_a_saved_one_goes_on_as_before():
    one = VarianceRatio()
    one.observe(pool(PROMPTS, *sums(partial_rewards(0))))
    two = VarianceRatio.from_state(one.state_dict())
    for ratio in (one, two):
        ratio.observe(pool(PROMPTS, *sums(partial_rewards(1))))
    assert torch.equal(one.predict(IDS), two.predict(IDS))


def test_the_drifting_process_predicts_the_variance_of_partial_rewards():
    predictor = DriftingGaussianProcess()
    for seed in range(12):
        predictor.observe(PROMPTS, *sums(partial_rewards(seed)))
    predicted = predictor.predict(PROMPTS).reward_variance
    assert float(predicted[:20].mean()) == pytest.approx(0.25, rel=0.15)
    # m (1 - m) would be 0.25; the rest of the difference to 0.013 is that a prompt is drawn to the ratio of all.
    assert 0.4**2 / 12 < float(predicted[20:].mean()) < 0.03
