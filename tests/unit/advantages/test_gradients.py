"""Estimators on the gradients of a real, small language model, against the exact gradient and the exact variance.

The model is a Qwen2 of a few hundred weights, and a response is one or two tokens of seven, so that every response's
probability and score (the gradient of its log-probability) is known by enumeration. Sampling responses is then
drawing from a table, and a Monte Carlo of many thousand updates takes a second. Scores are seen along the true
gradient and along random directions.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from verl_vip.advantages.compute import compute_advantages
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.prediction.beta_belief import BetaBelief
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.gradient_variance import GradientVariance

VOCABULARY, END = 7, 0
PROMPTS = [[1, 2, 3], [4, 5, 6], [2, 2, 5], [6, 1, 4], [3, 6, 2]]
COUNTS = {
    "predicted_baseline": [1, 2, 3, 5, 9],
    "reinforce": [1, 2, 3, 5, 9],
    "rloo": [2, 3, 4, 5, 9],
    "dr_grpo": [2, 3, 4, 5, 9],
}
DIRECTIONS = 15
UPDATES = 20_000
#: What the variance over so many updates may differ by: its own standard error is about 1 %.
TOLERANCE = 0.03
#: Largest of some hundred standard normal values, with room.
LARGEST_Z = 4.5
RESPONSES = [[END], *([first, second] for first in range(1, VOCABULARY) for second in range(VOCABULARY))]


@dataclass(frozen=True)
class Policy:
    """`B` prompts with `O` possible responses each.

    Attributes:
        probability: A `B x O` tensor.
        score: A `B x O x P` tensor, the gradient of each response's log-probability.
        solved: A `B x O` tensor of 0 and 1: whether the response is right.
        directions: A `P x D` tensor; the first is that of the exact gradient.
    """

    probability: Tensor
    score: Tensor
    solved: Tensor
    directions: Tensor

    @property
    def success(self) -> Tensor:
        return (self.probability * self.solved).sum(1)

    @property
    def gradients(self) -> Tensor:
        """The `B x P` exact gradients of the success probabilities."""
        return torch.einsum("bo,bop->bp", self.probability * self.solved, self.score)


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(9)  # a policy that is right with .08 to .7 and ends at once with .14 to .36
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.4,
    )
    model = Qwen2ForCausalLM(config).double().eval()
    weights = list(model.parameters())
    probabilities, scores = [], []
    for prompt in PROMPTS:
        for response in RESPONSES:
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            log_probability = logits.log_softmax(-1)[torch.arange(len(response)), response].sum()
            gradient = torch.autograd.grad(log_probability, weights, allow_unused=True)
            scores.append(torch.cat([g.flatten() for g in gradient if g is not None]))
            probabilities.append(log_probability.detach().exp())
    shape = (len(PROMPTS), len(RESPONSES))
    probability, score = torch.stack(probabilities).view(shape), torch.stack(scores).view(*shape, -1)
    targets = [{1}, {2, 5}, {3, 4, 6}, {5}, {1, 2, 3, 6}]
    solved = torch.tensor([[float(r[0] in target or sum(r) == 7) for r in RESPONSES] for target in targets]).double()
    gradient = torch.einsum("bo,bop->p", probability * solved, score)
    directions = torch.randn(score.shape[-1], DIRECTIONS + 1, dtype=torch.float64) / math.sqrt(score.shape[-1])
    directions[:, 0] = gradient / gradient.norm()
    return Policy(probability, score, solved, directions)


def test_the_enumeration_is_complete(policy):
    torch.testing.assert_close(policy.probability.sum(1), torch.ones(len(PROMPTS), dtype=torch.float64))
    means = torch.einsum("bo,bop->bp", policy.probability, policy.score)
    assert means.abs().max() < 1e-6  # scores of whole responses have mean zero; the model's rotations are float32
    assert policy.success.min() < 0.2
    assert policy.success.max() > 0.5


def updates(
    policy, counts, *, estimator, seed, coin=None, belief=None, prompt_weight="equal", weight=None, ranges=None
):
    """Return `UPDATES x D` gradients along the directions, each a mean over rows as a trainer's loss takes it.

    Args:
        coin: An `UPDATES x B` tensor of success probabilities of a reward that is drawn independently of the
            response; None for the response's own reward.
        belief: Prior mean and strength, `B` tensors.
        ranges: A `B x 2` tensor, what failed and solved responses earn; None for 0 and 1.
    """
    generator = torch.Generator().manual_seed(seed)
    prompts = torch.repeat_interleave(torch.arange(len(PROMPTS)), torch.tensor(counts))
    response = torch.stack(
        [torch.multinomial(policy.probability[b], UPDATES, replacement=True, generator=generator) for b in prompts], 1
    )
    rewards = (
        policy.solved[prompts, response]
        if coin is None
        else torch.bernoulli(coin[:, prompts], generator=generator).double()
    )
    group = (torch.arange(UPDATES).unsqueeze(1) * len(PROMPTS) + prompts).flatten()
    everywhere = None
    if belief is not None:
        everywhere = BetaBelief(*(part.repeat(UPDATES) for part in belief))
    everyones = (0.0, 1.0)
    if ranges is not None:
        low, high = ranges.unbind(1)
        rewards = low[prompts] + (high - low)[prompts] * rewards
        everyones = ranges.repeat(UPDATES, 1)
    batch = GroupedRewards(rewards.flatten(), group, UPDATES * len(PROMPTS), everyones, belief=everywhere)
    advantages = compute_advantages(
        batch,
        estimator=estimator,
        prompt_weight=prompt_weight,
        weight=None if weight is None else weight.repeat(UPDATES),
    ).view(UPDATES, -1)
    along = policy.score @ policy.directions
    return torch.stack(
        [(advantages * along[prompts, response, d]).mean(1) for d in range(policy.directions.shape[1])], 1
    )


def z_values(found, expected):
    return (found.mean(0) - expected) / (found.std(0) / math.sqrt(UPDATES))


WRONG = (torch.tensor([0.9, 0.1, 0.5, 0.8, 0.3]).double(), torch.tensor([0.5, 2.0, 8.0, 16.0, 4.0]).double())


@pytest.mark.parametrize("estimator", ["rloo", "predicted_baseline", "reinforce"])
def test_unequal_counts_leave_the_gradient_unbiased_whatever_was_predicted(policy, estimator):
    found = updates(policy, COUNTS[estimator], estimator=estimator, seed=1, belief=WRONG)
    exact = policy.gradients.mean(0) @ policy.directions
    assert z_values(found, exact).abs().max() < LARGEST_Z
    # and the test could have told: zero, or a gradient of other prompt weights, is far off
    assert z_values(found, torch.zeros_like(exact)).abs().max() > 20
    rows = updates(policy, COUNTS[estimator], estimator=estimator, seed=1, belief=WRONG, prompt_weight="rows")
    assert z_values(rows, exact).abs().max() > 2 * LARGEST_Z


RANGES = torch.tensor([[0.0, 1.0], [-1.0, 1.0], [0.0, 1.0], [-3.0, 2.0], [0.5, 1.0]]).double()


@pytest.mark.parametrize("estimator", ["rloo", "predicted_baseline", "reinforce"])
def test_scorers_on_different_scales_leave_the_gradient_of_the_reward_unbiased(policy, estimator):
    found = updates(policy, COUNTS[estimator], estimator=estimator, seed=11, belief=WRONG, ranges=RANGES)
    scale = RANGES[:, 1] - RANGES[:, 0]
    exact = (policy.gradients * scale.unsqueeze(1)).mean(0) @ policy.directions
    assert z_values(found, exact).abs().max() < LARGEST_Z
    of_shares = policy.gradients.mean(0) @ policy.directions
    assert z_values(found, of_shares).abs().max() > 2 * LARGEST_Z


def test_row_weights_are_those_of_the_counts(policy):
    counts = torch.tensor(COUNTS["rloo"]).double()
    found = updates(policy, COUNTS["rloo"], estimator="rloo", seed=2, prompt_weight="rows")
    expected = (policy.gradients * (counts / counts.sum()).unsqueeze(1)).sum(0) @ policy.directions
    assert z_values(found, expected).abs().max() < LARGEST_Z


def test_dr_grpo_shrinks_a_prompts_gradient_by_one_over_its_count(policy):
    counts = torch.tensor(COUNTS["dr_grpo"]).double()
    found = updates(policy, COUNTS["dr_grpo"], estimator="dr_grpo", seed=3)
    expected = (policy.gradients * ((counts - 1) / counts).unsqueeze(1)).mean(0) @ policy.directions
    assert z_values(found, expected).abs().max() < LARGEST_Z


def test_a_predicted_weight_ascends_its_utility_without_bias(policy):
    predicted = Prediction(WRONG[0], torch.zeros(len(PROMPTS)))
    weight = GradientVariance(utility="log_success").prompt_weight(predicted)
    found = updates(policy, COUNTS["rloo"], estimator="rloo", seed=4, weight=weight)
    expected = (policy.gradients * weight.unsqueeze(1)).mean(0) @ policy.directions
    assert z_values(found, expected).abs().max() < LARGEST_Z


def test_max_rl_ascends_another_objective_at_every_count(policy):
    counts = torch.tensor(COUNTS["rloo"]).double()
    found = updates(policy, COUNTS["rloo"], estimator="max_rl", seed=5)
    weight = (1 - (1 - policy.success) ** (counts - 1)) / policy.success
    expected = (policy.gradients * weight.unsqueeze(1)).mean(0) @ policy.directions
    assert z_values(found, expected).abs().max() < LARGEST_Z


def test_krpos_weight_is_that_of_the_places(policy):
    """The filter's own factor, averaged over the places, weighs a prompt by its count."""
    counts = [2, 3, 4, 5, 9]
    factors, variance = [], 1.0
    for _ in range(max(counts)):
        variance += 1e-5
        gain = variance / (variance + 1e-2)
        variance *= 1 - gain
        factors.append((1 - gain) / math.sqrt(variance))
    weight = torch.tensor([sum(factors[:count]) / count for count in counts]).double()
    found = updates(policy, counts, estimator="krpo", seed=6)
    expected = (policy.gradients * weight.unsqueeze(1)).mean(0) @ policy.directions
    assert z_values(found, expected).abs().max() < LARGEST_Z


def relative_error(found, expected):
    """Of the variance summed over all directions."""
    return float(found.var(0).sum() / expected) - 1


def spread(policy):
    """The `B` variances of one response's score and the `B` squared means, summed over directions."""
    along = policy.score @ policy.directions
    mean = torch.einsum("bo,bod->bd", policy.probability, along)
    second = torch.einsum("bo,bod->b", policy.probability, along.square())
    return second - mean.square().sum(1), mean.square().sum(1)


def by_length(policy):
    """The policy with scores divided by the response's length, along the directions in which these have a mean."""
    score = policy.score / torch.tensor([len(r) for r in RESPONSES]).double().view(1, -1, 1)
    mean = torch.einsum("bo,bop->pb", policy.probability, score)
    return replace(policy, score=score, directions=mean / mean.norm(dim=0))


MEAN = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]).double()


@pytest.mark.parametrize("estimator", ["rloo", "dr_grpo"])
@pytest.mark.parametrize("utility", ["success", "log_success"])
@pytest.mark.parametrize("ranges", [None, RANGES], ids=["one-scale", "several-scales"])
def test_propositions_4_2_and_4_3(policy, estimator, utility, ranges):
    """Assumption 4.1 holds where the reward is a coin of known p, thrown beside the response.

    Scores are divided by the response's length, so that their mean is not zero; the propositions do not need it.
    """
    policy = by_length(policy)
    variance = GradientVariance(estimator, utility)
    scale = None if ranges is None else ranges[:, 1] - ranges[:, 0]
    prediction = Prediction(MEAN, torch.zeros_like(MEAN), reward_scale=scale)
    found = updates(
        policy,
        COUNTS[estimator],
        estimator=estimator,
        seed=7,
        coin=MEAN.expand(UPDATES, -1),
        weight=variance.prompt_weight(prediction),
        ranges=ranges,
    )
    sigma, mean_squared = spread(policy)
    assert (mean_squared / sigma).max() > 0.05
    objective = variance.objective(prediction).value(np.array(COUNTS[estimator]))
    expected = float((sigma * torch.from_numpy(objective)).sum()) / len(PROMPTS) ** 2
    assert abs(relative_error(found, expected)) < TOLERANCE


@pytest.mark.parametrize("with_mean", [False, True])
def test_the_predicted_baselines_variance(policy, with_mean):
    """p is drawn from the belief before each update; the mean-score term appears only for scores with a mean."""
    strength = torch.tensor([0.5, 2.0, 8.0, 16.0, 4.0]).double()
    policy = by_length(policy) if with_mean else policy
    prediction = Prediction(MEAN, MEAN * (1 - MEAN) / (strength + 1))
    torch.manual_seed(8)
    coin = torch.distributions.Beta(strength * MEAN, strength * (1 - MEAN)).sample((UPDATES,))
    found = updates(
        policy,
        COUNTS["predicted_baseline"],
        estimator="predicted_baseline",
        seed=9,
        coin=coin,
        belief=(MEAN, strength),
    )
    counts = torch.tensor(COUNTS["predicted_baseline"]).double()
    objective = torch.from_numpy(GradientVariance("predicted_baseline").objective(prediction).value(counts.numpy()))
    sigma, mean_squared = spread(policy)
    expected = (objective * (sigma + mean_squared * strength / (strength + counts - 1))).sum() / len(PROMPTS) ** 2
    assert abs(relative_error(found, float(expected))) < TOLERANCE
    without_mean = float((objective * sigma).sum()) / len(PROMPTS) ** 2
    assert (relative_error(found, without_mean) > 2 * TOLERANCE) == with_mean


def test_the_response_s_own_reward_gives_the_variance_of_a_sample_covariance(policy):
    """RLOO's gradient is the unbiased sample covariance of reward and score, whatever they have in common.

    Its variance is mu22/n + (v s^2 - (n - 2) c^2) / (n (n - 1)), with v and s^2 the variances, c the covariance and
    mu22 the mean product of squared deviations. Where reward and score are independent this is v s^2 / (n - 1),
    Proposition 4.3; on this model, whose rewards follow from the response, the true variance is a fifth above it.
    """
    along = policy.score @ policy.directions
    centred = policy.solved - policy.success.unsqueeze(1)
    reward_variance = policy.success * (1 - policy.success)
    sigma = torch.einsum("bo,bod->bd", policy.probability, along.square())
    covariance = torch.einsum("bo,bod->bd", policy.probability * centred, along)
    mixed = torch.einsum("bo,bod->bd", policy.probability * centred.square(), along.square())
    n = torch.tensor(COUNTS["rloo"]).double().unsqueeze(1)
    own = reward_variance.unsqueeze(1) * sigma
    exact = mixed / n + (own - (n - 2) * covariance.square()) / (n * (n - 1))
    found = updates(policy, COUNTS["rloo"], estimator="rloo", seed=10)
    assert abs(relative_error(found, float(exact.sum()) / len(PROMPTS) ** 2)) < TOLERANCE
    shrunk = updates(policy, COUNTS["dr_grpo"], estimator="dr_grpo", seed=10)
    exact_dr_grpo = float((exact * ((n - 1) / n).square()).sum()) / len(PROMPTS) ** 2
    assert abs(relative_error(shrunk, exact_dr_grpo)) < TOLERANCE
    proposition = float((own / (n - 1)).sum()) / len(PROMPTS) ** 2
    assert 0.15 < relative_error(found, proposition) < 0.25
