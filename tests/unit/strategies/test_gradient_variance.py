from dataclasses import replace

import numpy as np
import pytest
import torch

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.strategies.registry import build_strategy

PREDICTION = Prediction(
    torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), torch.tensor([0.01, 0.05, 0.0], dtype=torch.float64)
)


def test_the_utility_enters_the_weight_squared():
    variance = GradientVariance("rloo", "log_success", utility_floor=0.2)
    expected = [(0.09 - 0.01) / 0.2**2, (0.25 - 0.05) / 0.5**2, 0.09 / 0.8**2]
    np.testing.assert_allclose(variance.objective(PREDICTION).weight, expected)
    np.testing.assert_allclose(variance.prompt_weight(PREDICTION), [5, 2, 1.25])
    plug_in = variance.objective(PREDICTION, "plug_in").weight
    np.testing.assert_allclose(plug_in, [0.09 / 0.2**2, 0.25 / 0.5**2, 0.09 / 0.8**2])


def test_the_predicted_baseline_has_each_prompts_own_strength():
    objective = GradientVariance("predicted_baseline", strength_cap=7).objective(PREDICTION)
    np.testing.assert_allclose(objective.strength, [7, 4, 7])
    assert objective.min_rollouts == 1


def test_the_arcsine_of_points_asks_for_uniform_counts(batch, play):
    strategy = build_strategy("vip", GradientVariance("rloo", "arcsine"))
    assert play(strategy, *batch([0.1, 0.3, 0.5, 0.8]), Budget(32, 2, 30)).totals.tolist() == [8] * 4


def test_log_success_moves_rollouts_to_hard_prompts(batch, play):
    counts = {
        utility: play(
            build_strategy("vip", GradientVariance("rloo", utility)), *batch([0.1, 0.9]), Budget(16, 2, 14)
        ).totals.tolist()
        for utility in ("success", "log_success")
    }
    assert counts["success"] == [8, 8]
    assert counts["log_success"][0] > counts["log_success"][1]


def test_a_prompt_with_more_at_stake_gets_what_least_variance_asks_for(batch, play):
    prompts, prediction = batch([0.3, 0.3, 0.5])
    scale = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    strategy = build_strategy("vip", "rloo")
    found = play(strategy, prompts, replace(prediction, reward_scale=scale), Budget(24, 2, 20)).totals.tolist()

    def variance(counts):
        return sum(s**2 * p * (1 - p) / (n - 1) for s, p, n in zip(scale, (0.3, 0.3, 0.5), counts, strict=True))

    possible = [(a, b, 24 - a - b) for a in range(2, 21) for b in range(2, 21) if 2 <= 24 - a - b <= 20]
    assert tuple(found) == min(possible, key=variance)
    assert found[1] > found[0] > found[2]


def test_the_predicted_baseline_may_give_one_rollout(batch, play):
    strategy = build_strategy("vip", "predicted_baseline")
    counts = play(strategy, *batch([0.001, 0.5, 0.5]), Budget(9, 1, 9)).totals.tolist()
    assert counts == [1, 4, 4]


def test_an_estimator_without_a_known_variance_is_refused():
    with pytest.raises(InvalidInputError, match="objective must be one of rloo, dr_grpo, predicted_baseline"):
        GradientVariance("krpo")
