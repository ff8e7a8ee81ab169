"""VIP as in its authors' released code, which differs from their paper."""

import numpy as np
import torch
from scipy.optimize import minimize

from verl_vip.advantages.selection import Selection
from verl_vip.allocation.exact import exact_counts
from verl_vip.allocation.validation import Floats
from verl_vip.annotations import Share, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.policies.reciprocal import Reciprocal


class VipReleasedCode(Stateless):
    """Minimises `sum p(1-p)/n` for either estimator with SciPy's SLSQP, and rounds by greedy gains.

    This follows the later releases of the code for arXiv 2602.01601. Prompts with p of at least `solved_from` count as
    solved. SLSQP starts at even counts and stops at its default tolerance, often before the optimum; its result is used
    as it is. Counts are rounded down, and the rest of the budget goes to the largest gains. The code then drops prompts
    with fewer than four rollouts; here the lower bound applies and none is dropped. The time grows with the cube of the
    number of prompts: seconds for a few hundred.

    Args:
        solved_from: Success probability from which a prompt counts as solved.
    """

    decides_beforehand = True

    @checked_settings
    def __init__(self, solved_from: Share = 0.8) -> None:
        self._solved_from = solved_from

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the counts in one round."""
        size = len(prompts)
        budget.require_feasible(size)
        p = prediction.mean.to(torch.float64)
        p = torch.where(p >= self._solved_from, 1.0, p).clamp(1e-6, 1 - 1e-6)
        lower, upper = max(budget.lower, 1), budget.upper
        objective = Reciprocal(p * (1 - p))
        counts = np.floor(_slsqp(objective, budget.total, lower, upper) + 1e-9).astype(np.int64)
        floors = np.clip(counts, lower, upper)
        yield torch.from_numpy(exact_counts(objective, budget.total, floors, np.full_like(floors, upper)))
        return Selection()


def _slsqp(objective: Reciprocal, total: int, lower: int, upper: int) -> Floats:
    size = len(objective)
    found = minimize(
        lambda n: float(objective.value(n).sum()),
        np.full(size, total / size),
        jac=lambda n: -objective.weight * objective.slope(n),
        bounds=[(lower, upper)] * size,
        constraints={"type": "eq", "fun": lambda n: n.sum() - total, "jac": lambda _: np.ones(size)},
        method="SLSQP",
    )
    return np.asarray(found.x)
