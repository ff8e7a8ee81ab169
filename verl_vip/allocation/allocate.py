"""The main functions: from predicted success probabilities to rollout counts."""

from typing import Literal, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from verl_vip.allocation.exact import exact_counts
from verl_vip.allocation.objective import Objective, SmoothObjective, require_weights
from verl_vip.allocation.paper_rounding import paper_counts
from verl_vip.allocation.relaxed import RelaxedAllocation, relaxed_counts
from verl_vip.allocation.validation import (
    Vector,
    as_count,
    as_nonnegative,
    as_probability,
    require_bounds,
    require_feasible,
)
from verl_vip.allocation.variances import DrGrpo, Rloo
from verl_vip.errors import InvalidInputError

ObjectiveName = Literal["rloo", "dr_grpo"]
Method = Literal["exact", "paper"]


def allocate(
    success_probability: Vector | None,
    budget: SupportsIndex,
    *,
    lower: SupportsIndex,
    upper: SupportsIndex,
    objective: ObjectiveName | Objective = "rloo",
    weight: Vector | None = None,
    method: Method = "exact",
) -> Tensor:
    """Decide how many rollouts each prompt gets, so that the summed objective is minimal.

    Solves `min sum_q a_q f_q(n_q)` over integers with `sum_q n_q = budget` and `lower <= n_q <= upper`
    (Nguyen et al., arXiv 2602.01601, eq. 5-9). The budget is spent exactly. With `method="exact"` the result
    is optimal: the objective is separable and convex, so that taking the largest marginal gains is optimal (Gross
    1956; Fox 1966; Ibaraki and Katoh 1988). Equal gains, up to 1e-12 relative, go to the lowest index.
    Prompts with a_q = 0 stay at `lower` until all others are at `upper`, and then share the rest evenly. The result
    is deterministic and takes O(B) time and memory.

    Args:
        success_probability: A `B` vector of probabilities p in [0, 1], which sets a_q = p(1-p). May be None if
            `weight` or an objective object sets a_q.
        budget: Total number of rollouts.
        lower: Least number of rollouts of one prompt; at least 2 for "rloo", 3 for "dr_grpo".
        upper: Largest number of rollouts of one prompt.
        objective: "rloo" or "dr_grpo", or an object with its own weights and shapes.
        weight: A `B` vector of a_q >= 0 instead of p(1-p), for example `Prediction.reward_variance`.
        method: "exact", or "paper" for the relaxed optimum rounded by Algorithm 2 of the paper.

    Returns:
        A `B` int64 tensor of counts, on the CPU.

    Raises:
        InvalidInputError: If an argument is malformed, or `lower` is below where the objective is convex.
        InfeasibleBudgetError: If the budget is outside `[B * lower, B * upper]`.

    Example:
        >>> allocate([0.1, 0.5, 0.99], 24, lower=3, upper=16)
        tensor([ 8, 13,  3])
    """
    if method not in ("exact", "paper"):
        raise InvalidInputError(f"method must be 'exact' or 'paper'; got {method!r}.")
    target, total, least, most = _resolve(success_probability, budget, lower, upper, objective, weight)
    if method == "exact":
        bounds = np.full((2, len(target)), [[least], [most]], dtype=np.int64)
        counts = exact_counts(target, total, *bounds)
    else:
        counts = paper_counts(_require_smooth(target), total, least, most)
    return torch.from_numpy(counts)


def relaxed(
    success_probability: Vector | None,
    budget: SupportsIndex,
    *,
    lower: SupportsIndex,
    upper: SupportsIndex,
    objective: ObjectiveName | Objective = "rloo",
    weight: Vector | None = None,
) -> RelaxedAllocation:
    """Solve the same problem as `allocate` over real counts, and return the worth of one more rollout.

    Args:
        success_probability: As for `allocate`.
        budget: As for `allocate`.
        lower: As for `allocate`.
        upper: As for `allocate`.
        objective: As for `allocate`; an object must be a `SmoothObjective`.
        weight: As for `allocate`.

    Returns:
        The counts, and the multiplier of the budget.

    Raises:
        InvalidInputError: If an argument is malformed, or the objective has no slope.
        InfeasibleBudgetError: If the budget is outside `[B * lower, B * upper]`.
    """
    target, total, least, most = _resolve(success_probability, budget, lower, upper, objective, weight)
    counts, price = relaxed_counts(_require_smooth(target), total, least, most)
    return RelaxedAllocation(torch.from_numpy(counts), price)


def _resolve(
    success_probability: Vector | None,
    budget: SupportsIndex,
    lower: SupportsIndex,
    upper: SupportsIndex,
    objective: ObjectiveName | Objective,
    weight: Vector | None,
) -> tuple[Objective, int, int, int]:
    """Return the objective, budget and bounds, all checked."""
    probability = None if success_probability is None else as_probability(success_probability)
    target = _resolve_objective(probability, objective, weight)
    total, least, most = as_count(budget, "budget"), as_count(lower, "lower"), as_count(upper, "upper")
    name = objective if isinstance(objective, str) else type(target).__name__
    require_bounds(least, most, target.min_rollouts, name)
    require_feasible(len(target), total, least, most)
    # No prompt can get more than the budget, and an unlimited `upper` may be too large for an array.
    return target, total, least, max(least, min(most, total))


def _resolve_objective(
    probability: Vector | None, objective: ObjectiveName | Objective, weight: Vector | None
) -> Objective:
    if isinstance(objective, Objective):
        require_weights(objective)
        if weight is not None:
            raise InvalidInputError("an objective object has its own weights; leave weight out.")
        if probability is not None and len(probability) != len(objective):
            raise InvalidInputError(
                f"the objective is for {len(objective)} prompts and success_probability for "
                f"{len(probability)}; give both the same prompts."
            )
        return objective
    if objective not in ("rloo", "dr_grpo"):
        raise InvalidInputError(f"objective must be 'rloo', 'dr_grpo' or an Objective; got {objective!r}.")
    if weight is not None:
        a = as_nonnegative(weight, "weight", None if probability is None else len(probability))
    elif probability is not None:
        p = np.asarray(probability)
        a = p * (1.0 - p)
    else:
        raise InvalidInputError("give success_probability or weight.")
    return Rloo(a) if objective == "rloo" else DrGrpo(a)


def _require_smooth(objective: Objective) -> SmoothObjective:
    if not isinstance(objective, SmoothObjective):
        raise InvalidInputError(
            f"{type(objective).__name__} has no slope, which real counts require; "
            f"derive it from SmoothObjective, or use allocate with method='exact'."
        )
    return objective
