"""Rounds that double the rollouts of the half with the largest reward variance (VIGOR, arXiv 2607.22002)."""

from verl_vip.advantages.selection import Selection
from verl_vip.annotations import Count, checked_settings
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.groups import same_counts
from verl_vip.strategies.outcomes import Outcomes, join, reward_variances


class Vigor(Stateless):
    """Samples a few rollouts of every prompt; in each further round, half of the prompts get twice as many.

    The half with the largest reward variance so far continues; of equal variances, the lower index does. Every round
    costs the same, so the first count is the even share divided by the number of rounds: 2 of 8, with final groups of
    2, 6, 14 and 30. If the lower bound requires more in the first round, later rounds shrink to the rest of the budget.
    The remainder of the division is not spent.

    Args:
        num_rounds: Number of rounds.
    """

    @checked_settings
    def __init__(self, num_rounds: Count = 4) -> None:
        self._num_rounds = num_rounds

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        """Yield the rounds."""
        size = len(prompts)
        budget.require_feasible(size)
        active = list(range(size))
        count = max(budget.lower, budget.total // (self._num_rounds * size), 1)
        each, left = 0, budget.total
        sampled: list[Outcomes] = []
        for _ in range(self._num_rounds):
            active = active[: left // count]
            if not active or each + count > budget.upper:
                break
            sampled.append((yield same_counts(size, active, count)))
            each += count
            left -= count * len(active)
            variances = reward_variances(join(sampled))
            active = sorted(active, key=lambda row: -float(variances[row]))[: len(active) // 2]
            count *= 2
        return Selection()
