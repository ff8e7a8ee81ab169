"""What one simulated step cost, and how its gradient variance compares with the best counts for its batch."""

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
    """One step in numbers. Variances are of the update, in units of sigma_Z^2.

    Attributes:
        rollouts: Rollouts sampled, in all rounds.
        without_signal: Those among them in groups whose rewards are all equal.
        trained: Rollouts that the update used.
        variance: Of the update: its exact value if `serves_batch`, otherwise what the rewards give.
        uniform_variance: What even counts over the nominal batch would have had.
        oracle_variance: The least that counts can have there, with true success probabilities known.
        serves_batch: Whether counts were set before sampling, and the update uses all rollouts of each prompt of
            the nominal batch with equal weight. Then the three variances are of unbiased estimators of the same
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
        update: Its coefficients.
        success: A `P` tensor of true success probabilities.
        budget: Of the step.
        nominal: How many prompts the batch has; the first so many candidates are compared with.
        num_rounds: In how many rounds the strategy sampled.
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
        objective: The advantage estimator, whose shape f is (arXiv 2602.01601, Propositions 4.2 and 4.3).
    """
    weight = (success * (1 - success)).to(torch.float64)
    shape = Rloo(weight) if objective == "rloo" else DrGrpo(weight)
    return float(shape.value(counts.numpy()).sum()) / len(counts) ** 2
