import pytest
import torch

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import LogitFactors, Prediction, Prompts
from verl_vip.prediction.logistic_normal import probability_moments
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.thompson import Thompson


def shared(mean, loadings, own):
    """A prediction whose logits share factors, with the moments that belong to them."""
    mean, loadings, own = (torch.tensor(values, dtype=torch.float64) for values in (mean, loadings, own))
    moments = probability_moments(mean, loadings.square().sum(1) + own)
    prompts = Prompts(tuple(map(str, range(len(mean)))), torch.zeros(len(mean), 2))
    return prompts, Prediction(*moments, logits=LogitFactors(mean, loadings, own))


def test_prompts_of_one_skill_are_preferred_together(play):
    # Two skills of four prompts each; each skill is believed to be solved or hopeless, as one.
    loadings = [[4.0, 0.0]] * 4 + [[0.0, 4.0]] * 4
    case = shared([0.0] * 8, loadings, [0.01] * 8)
    strategy, chosen = Thompson(), set()
    for _ in range(40):
        served = play(strategy, *case, Budget(4, 1, 8)).totals.nonzero()[:, 0].tolist()
        chosen.add(tuple(served))
    assert chosen == {(0, 1, 2, 3), (4, 5, 6, 7)}


def test_without_uncertainty_the_prompts_nearest_one_half_are_served(play):
    case = shared([3.0, -0.1, 0.4, -2.0, 0.2], [[0.0]] * 5, [1e-9] * 5)
    assert play(Thompson(), *case, Budget(2, 1, 8)).totals.tolist() == [0, 1, 0, 0, 1]
    assert play(Thompson(group_size=2), *case, Budget(5, 1, 8)).totals.tolist() == [0, 2, 0, 0, 2]


def test_what_belongs_to_a_prompt_alone_is_averaged_over_and_lowers_its_variance(play):
    case = shared([0.0, 0.0, 0.0], [[0.0]] * 3, [9.0, 1e-9, 9.0])
    for seed in range(5):
        assert play(Thompson(seed=seed), *case, Budget(1, 1, 8)).totals.tolist() == [0, 1, 0]


def test_predictors_without_shared_logits_are_drawn_prompt_by_prompt(play, batch):
    strategy = Thompson()
    served = {tuple(play(strategy, *batch([0.5, 0.2], [0.2, 0.1]), Budget(1, 1, 8)).totals.tolist()) for _ in range(40)}
    assert served == {(1, 0), (0, 1)}
    assert play(strategy, *batch([0.9, 0.5, 0.2]), Budget(1, 1, 8)).totals.tolist() == [0, 1, 0]


def test_rewards_of_a_wide_range_count_as_such(play):
    prompts, prediction = shared([0.0, 1.5], [[0.0]] * 2, [1e-9] * 2)
    scaled = Prediction(
        prediction.mean, prediction.variance, reward_scale=torch.tensor([1.0, 3.0]), logits=prediction.logits
    )
    assert play(Thompson(), prompts, prediction, Budget(1, 1, 8)).totals.tolist() == [1, 0]
    assert play(Thompson(), prompts, scaled, Budget(1, 1, 8)).totals.tolist() == [0, 1]
    ratio = Prediction(
        prediction.mean, prediction.variance, variance_ratio=torch.tensor([0.1, 1.0]), logits=prediction.logits
    )
    assert play(Thompson(), prompts, ratio, Budget(1, 1, 8)).totals.tolist() == [0, 1]


@pytest.mark.parametrize("wrong", [([0.0], [[1.0], [1.0]], [1.0]), ([0.0], [[1.0]], [1.0, 2.0]), ([0.0], [1.0], [1.0])])
def test_factors_fit_together(wrong):
    with pytest.raises(InvalidInputError, match="must be"):
        LogitFactors(*(torch.tensor(values, dtype=torch.float64) for values in wrong))
