"""The cost of one simulated step, and its gradient variance compared with that of the best counts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection
from verl_vip.allocation.allocate import ObjectiveName, allocate
from verl_vip.allocation.variances import DrGrpo, Rloo
from verl_vip.simulation.update import Update
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.groups import even_counts
from verl_vip.strategies.outcomes import Outcomes, group_sizes, has_signal


@dataclass(frozen=True)
class StepMeasures:
    """Measures of one step. Variances are those of the update, in units of sigma_Z^2.

    Attributes:
        rollouts: Rollouts sampled, over all rounds.
        without_signal: Rollouts in groups whose rewards are all equal.
        trained: Rollouts that the update used.
        variance: The update's variance: exact if `serves_batch`, otherwise estimated from the rewards.
        uniform_variance: The variance under even counts over the nominal batch.
        oracle_variance: The least variance over the nominal batch, with known success probabilities.
        serves_batch: Whether counts were set before sampling, and the update uses all rollouts of each prompt of the
            nominal batch with equal weight. The three variances are then those of unbiased estimators of the same
            gradient; counts that depend on rewards bias it.
    """

    rollouts: int
    without_signal: int
    trained: int
    variance: float
    uniform_variance: float
    oracle_variance: float
    serves_batch: bool


def measure_step(
    outcomes: Outcomes,
    selection: Selection,
    update: Update,
    success: Tensor,
    *,
    budget: Budget,
    nominal: int,
    num_rounds: int,
    objective: ObjectiveName,
) -> StepMeasures:
    """Measure a step over `P >= nominal` candidates.

    Args:
        outcomes: `P` reward tensors, all rounds together.
        selection: What the strategy returned.
        update: The update's coefficients.
        success: A `P` tensor of true success probabilities.
        budget: The step's budget.
        nominal: Number of prompts of the nominal batch, which are the first candidates.
        num_rounds: Number of rounds that the strategy sampled.
        objective: The advantage estimator.
    """
    sizes = group_sizes(outcomes)
    serves_batch = (
        num_rounds == 1
        and len(sizes) == nominal
        and bool((sizes > 1).all())
        and selection.keep is None
        and selection.prompt_weight is None
    )
    if serves_batch:
        variance = variance_of_counts(success, sizes, objective)
    else:
        variance = float(update.noise.sum()) / max(update.used, 1) ** 2
    batch = success[:nominal]
    even = even_counts(nominal, range(nominal), budget.total)
    best = allocate(batch, budget.total, lower=budget.lower, upper=budget.upper, objective=objective)
    return StepMeasures(
        rollouts=int(sizes.sum()),
        without_signal=int(sizes[~has_signal(outcomes)].sum()),
        trained=int(update.trained.sum()),
        variance=variance,
        uniform_variance=variance_of_counts(batch, even, objective),
        oracle_variance=variance_of_counts(batch, best, objective),
        serves_batch=serves_batch,
    )


def variance_of_counts(success: Tensor, counts: Tensor, objective: ObjectiveName) -> float:
    """Return the variance of a mean over prompt groups, `sum p(1-p) f(n) / B^2`, in units of sigma_Z^2.

    Args:
        success: A `B` tensor of true success probabilities.
        counts: A `B` int64 tensor, at least 2 each.
        objective: The advantage estimator with shape f (arXiv 2602.01601, Propositions 4.2 and 4.3).
    """
    weight = (success * (1 - success)).to(torch.float64)
    shape = Rloo(weight) if objective == "rloo" else DrGrpo(weight)
    return float(shape.value(counts.numpy()).sum()) / len(counts) ** 2
