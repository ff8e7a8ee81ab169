"""VIP as its authors' code has it, which is not what their paper says."""

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

    After the later releases of the code for arXiv 2602.01601. Prompts with p of at least `solved_from` count as
    solved. SLSQP starts at even counts and stops at its default tolerance, often short of the optimum; what it
    returns is kept. Counts are rounded down, and what is left goes to the largest gains. The code then drops
    prompts with fewer than four rollouts; with a lower bound, as here, none is dropped. Its time grows
    like the cube of the number of prompts: seconds at a few hundred.

    Args:
        solved_from: Success probability from which a prompt counts as solved.
    """

    decides_beforehand = True

    @checked_settings
    def __init__(self, solved_from: Share = 0.8) -> None:
        self._solved_from = solved_from

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Yield the counts once; see `Strategy.rounds`."""
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
