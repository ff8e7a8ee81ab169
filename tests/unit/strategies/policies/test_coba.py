import pytest
import torch

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.coba import Coba

BUDGET = Budget(40, 2, 30)


def test_a_failing_model_gets_easy_prompts_and_a_capable_one_hard_prompts(batch, play):
    p = [0.1, 0.3, 0.5, 0.7, 0.9]
    failing, capable = Coba(), Coba()
    play(failing, *batch(p), BUDGET, success=[0.0] * 5)
    play(capable, *batch(p), BUDGET, success=[1.0] * 5)
    easy = play(failing, *batch(p), BUDGET).totals
    hard = play(capable, *batch(p), BUDGET).totals
    centre = torch.tensor(p)
    assert (easy * centre).sum() > (hard * centre).sum() + 5


def test_only_the_window_is_remembered(batch, play):
    strategy = Coba(window=2)
    for success in (0.0, 0.0, 1.0):
        play(strategy, *batch([0.5] * 3), Budget(24, 2, 30), success=[success] * 3)
    assert strategy.state_dict()["values"]["failure_rates"] == [1.0, 0.0]


@pytest.mark.parametrize("failure", [0.2, 0.5, 0.9])
def test_density_is_that_of_the_beta_distribution(failure):
    strategy = Coba()
    strategy.load_state_dict({"kind": "coba", "version": 1, "values": {"failure_rates": [failure]}})
    pull = failure if failure > 0.5 else 1 / (1 + torch.exp(torch.tensor(-10 * (failure - 0.5))).item())
    alpha = min(1 + 9 * pull, 10.0)
    p = torch.tensor([0.01, 0.3, 0.99], dtype=torch.float64)
    expected = torch.distributions.Beta(alpha, 11 - alpha).log_prob(p.float()).exp().double()
    torch.testing.assert_close(strategy._density(p), expected, rtol=1e-4, atol=1e-7)
