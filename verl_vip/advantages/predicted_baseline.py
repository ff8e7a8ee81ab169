"""A baseline from the prediction before sampling, updated with the other rollouts of the group."""

import torch
from torch import Tensor

from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.errors import InvalidInputError


def predicted_baseline(batch: GroupedRewards) -> Tensor:
    """Return `N` advantages r_i - b_i with the leave-one-out posterior mean b_i as the baseline.

    With the belief p ~ Beta(s m, s (1 - m)) and a group of n, `b_i = (s m + sum_{j != i} r_j) / (s + n - 1)`. The
    baseline does not depend on rollout i, so that the gradient is unbiased for all m and s; a wrong belief only
    increases the variance. In a group of one, the baseline is m. With s = 0 the estimator would be RLOO.
    `allocation.variances.PredictedBaseline` has the variance.

    m is a success probability and is mapped to the range of the rewards. If the rewards were penalised, m is too high
    by the mean penalty. It is then shifted by the mean of r - m over all other rollouts of the batch, which excludes
    rollout i.

    With `batch.score_coupling` above 0, each b_i is lowered as in `least_variance_baseline`. It still does not depend
    on rollout i.

    Raises:
        InvalidInputError: If the batch has no belief.
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
    """Return the baseline b of a 0/1 reward that minimises E[|s|^2 (r - b)^2], where s is the rollout's score.

    It is `b = E[|s|^2 r] / E[|s|^2]` (Greensmith, Bartlett & Baxter, JMLR 2004), which equals p only if the size of the
    score is independent of the reward. It is not, because the scores of likely actions are smaller than those of rare
    ones. For a softmax over one right answer of probability p and many wrong answers of small probability, |s|^2 is
    (1 - p)^2 for the right answer and 1 + p^2 for a wrong one. The rest of a long answer adds the same amount to both.
    Let `coupling`, c, be the share of the choice between answers in |s|^2 for small p, and rho the ratio of |s|^2
    between right and wrong rollouts. Then

        rho = (1 - c + c (1 - p)^2) / (1 - c + c (1 + p^2)),    b = rho p / (rho p + 1 - p).

    c = 0 gives b = p. c = 1, for an answer without any other part, gives b = p (1 - p) / (1 + p).

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
