"""A baseline from what was predicted before sampling, sharpened by the other rollouts of the group."""

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.errors import InvalidInputError


def predicted_baseline(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages r_i - b_i with the leave-one-out posterior mean b_i.

    With the belief p ~ Beta(s m, s (1 - m)) and a group of n, `b_i = (s m + sum_{j != i} r_j) / (s + n - 1)`. It
    does not depend on rollout i, so that the gradient is unbiased whatever m and s are; a wrong belief costs
    variance only. Groups of one learn from m alone. s = 0 would be RLOO. `allocation.variances.PredictedBaseline`
    has the variance.

    m is on the scale of success, 0 to 1, and is mapped to the rewards' range. Where the rewards were penalised, m
    is too high by the mean penalty. It is then moved by the mean of r - m over all other rollouts of the batch,
    which keeps rollout i out of its own baseline.

    `batch.score_coupling` above 0 lowers each b_i as `least_variance_baseline` says; it still does not depend on
    rollout i.

    Raises:
        InvalidInputError: If the batch carries no belief.
    """
    belief = batch.belief
    if belief is None:
        raise InvalidInputError("the predicted baseline needs a belief; give GroupedRewards one.")
    prior = batch.low + batch.width * belief.mean[batch.group]
    shift = torch.zeros_like(prior)
    if batch.penalised and len(batch.rewards) > 1:
        surprise = batch.rewards - prior
        shift = (surprise.sum() - surprise) / (len(surprise) - 1)
    strength = belief.strength[batch.group]
    others = batch.sampled_sums[batch.group] - batch.rewards
    baseline = (strength * (prior + shift) + others) / (strength + batch.sampled_sizes[batch.group] - 1)
    if batch.score_coupling:
        share = ((baseline - shift - batch.low) / batch.width).clamp(0, 1)
        baseline = batch.low + batch.width * least_variance_baseline(share, batch.score_coupling) + shift
    return batch.rewards - baseline


def least_variance_baseline(probability: Tensor, coupling: float) -> Tensor:
    """Return the baseline b of a 0/1 reward that makes E[|s|^2 (r - b)^2] least, s being the rollout's score.

    It is `b = E[|s|^2 r] / E[|s|^2]` (Greensmith, Bartlett & Baxter, JMLR 2004), which is p only if the score's size
    has nothing to do with the reward. It has: what a policy does as a rule moves its weights less than what it does
    rarely. For a softmax over one right answer of probability p and many wrong ones of little mass each, |s|^2 is
    (1 - p)^2 for the right one and 1 + p^2 for a wrong one. Most of a long answer is not that decision, and adds the
    same to both. With `coupling` c the decision's share of |s|^2, taken where p is small, and rho the ratio of right to
    wrong,

        rho = (1 - c + c (1 - p)^2) / (1 - c + c (1 + p^2)),    b = rho p / (rho p + 1 - p).

    c = 0 gives p, and 1, an answer that is nothing but the decision, p (1 - p) / (1 + p).

    Args:
        probability: A tensor of p in [0, 1].
        coupling: c, in [0, 1].
    """
    other = 1 - coupling
    right, wrong = (other + coupling * size for size in ((1 - probability).square(), 1 + probability.square()))
    ratio = right / wrong
    weighed = ratio * probability
    total = weighed + 1 - probability
    return torch.where(total > 0, weighed / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)
