"""The exact integer optimum of a separable convex objective under a hard budget, without unit steps.

Why it is exact: each prompt's rollouts beyond its least count have a list of gains, which fall because f_q is
convex. Every feasible allocation takes `budget - sum(lower)` of these gains and lowers the objective by their sum.
The largest gains lower it most, and since gains fall, taking them respects the order within each list. So the
optimum is "the largest gains of all lists together". Unit greedy finds it (Gross 1956; Fox 1966; Ibaraki and Katoh,
Resource Allocation Problems, 1988), and so does a threshold on the gain: the price of a rollout.

The search brackets this price in a few vectorised passes, and then selects it among the at most `WINDOW * B` gains
between the brackets. Time and memory are linear in B, for any budget.
"""

import math

import numpy as np

from verl_vip.allocation.objective import Objective
from verl_vip.allocation.validation import Counts
from verl_vip.errors import InvalidInputError

#: Gains are tied if their relative difference is below this. It is well above the rounding error of a gain and far
#: below the accuracy of any success probability, so that p and 1 - p tie although 1 - p was rounded.
TIE = 1e-12
#: The search ends when no prompt has more rollouts than this between the bracketing prices.
WINDOW = 3
#: Rounding may make a gain negative by at most this share of the largest gain.
_ROUNDED_GAIN = 1e-9
#: A smaller gain counts as zero, because such small doubles lose digits.
ALMOST_FREE = 1e-300


def exact_counts(objective: Objective, budget: int, lower: Counts, upper: Counts) -> Counts:
    """Minimise `sum_q a_q f_q(n_q)` over integers with `sum_q n_q = budget` and `lower_q <= n_q <= upper_q`.

    Equal gains go to the prompt of lowest index first. Rollouts without gain (weight zero) are assigned last, each to a
    prompt with the fewest rollouts.

    Args:
        objective: Convex from `lower` on.
        budget: Total number of rollouts, between `sum(lower)` and `sum(upper)`.
        lower: A `B` array of lower bounds.
        upper: A `B` array of upper bounds.

    Returns:
        A `B` array of counts.

    Raises:
        InvalidInputError: If the gains are not numbers, or do not fall, so that the objective is not convex.
    """
    _require_falling(objective, lower, upper)
    if int(lower.sum()) == budget:
        return lower.copy()
    useful = objective.counts_at_price(ALMOST_FREE, lower, upper)
    if int(useful.sum()) <= budget:
        return level(useful, budget, upper)
    price = _critical_price(objective, budget, lower, useful)
    counts = objective.counts_at_price(price * (1 + TIE), lower, upper)
    tied = objective.counts_at_price(price * (1 - TIE), lower, upper) - counts
    missing = budget - int(counts.sum())
    if not 0 <= missing <= int(tied.sum()):
        raise InvalidInputError(
            f"the gains of {type(objective).__name__} do not decrease between the bounds, or lose precision; raise "
            "min_rollouts to where the objective is convex, or write shape_gain without cancellation."
        )
    counts += np.clip(missing - (np.cumsum(tied) - tied), 0, tied)
    return counts


def _require_falling(objective: Objective, lower: Counts, upper: Counts) -> None:
    """Raise `InvalidInputError` if the first or the last gain is not finite or negative, so that a shape rises."""
    first = np.asarray(objective.shape_gain(lower))
    if first.shape != lower.shape:
        raise InvalidInputError(
            f"{type(objective).__name__} is for {len(objective)} prompts, but its gains have shape {first.shape}; "
            "shape and shape_gain must return one number for each prompt."
        )
    first = objective.weight * first
    last = objective.gain(np.maximum(upper - 1, lower))
    least = -_ROUNDED_GAIN * np.max(first, initial=0.0)
    if not ((first >= least) & (last >= least) & np.isfinite(first)).all():
        raise InvalidInputError(
            f"{type(objective).__name__} rises with the number of rollouts between the bounds, or is not finite; "
            "write a shape that falls, and raise min_rollouts to where it does."
        )


def level(counts: Counts, budget: int, upper: Counts) -> Counts:
    """Raise the smallest counts until they sum to the budget, the lowest indices first.

    Args:
        counts: A `B` array, at most `upper`, with a sum of at most `budget`.
        budget: The sum to reach, at most `sum(upper)`.
        upper: A `B` array of upper bounds.

    Returns:
        A `B` array, at least `counts`.
    """
    low, high = int(counts.min()), int(upper.max())
    while low < high:  # the lowest level that uses the budget
        middle = (low + high) // 2
        if int(np.maximum(counts, np.minimum(upper, middle)).sum()) >= budget:
            high = middle
        else:
            low = middle + 1
    filled = np.maximum(counts, np.minimum(upper, low - 1))
    rising = np.minimum(upper, low) > filled
    filled += rising & (np.cumsum(rising) <= budget - int(filled.sum()))
    return np.asarray(filled)


def _critical_price(objective: Objective, budget: int, lower: Counts, useful: Counts) -> float:
    """Return the smallest gain that the budget still pays for, if `sum(lower) < budget < sum(useful)`.

    This is a secant search on the logarithm of the price, with a bisection whenever the secant leaves the bracket, and
    at every fourth step. Its target lies slightly beyond the budget, so that both ends of the bracket move.
    """
    open_ = useful > lower
    high = math.log(float(objective.gain(lower)[open_].max())) + TIE
    low = math.log(float(objective.gain(np.maximum(useful - 1, lower))[open_].min())) - TIE
    few, many = lower, useful  # at `high` the counts sum to less than the budget, at `low` to no less
    margin = len(lower) / 8 + 1
    point, rate = _first_guess(objective, budget, lower, useful), (budget - len(lower)) / 2
    last_point, last_total, step = math.nan, 0, 0
    while high - low > TIE and int((many - few).max()) > WINDOW:
        step += 1
        if step % 4 == 0 or not low < point < high:
            point = (low + high) / 2
        counts = objective.counts_at_price(math.exp(point), lower, useful)
        total = int(counts.sum())
        if total != last_total and step > 1:
            rate = abs((total - last_total) / (point - last_point))
        last_point, last_total = point, total
        if total >= budget:
            low, many, target = point, counts, budget - margin
        else:
            high, few, target = point, counts, budget + margin
        point += (total - target) / max(rate, 1.0)
    width = many - few
    if int(width.max()) > WINDOW:  # a run of equal gains
        return math.exp(low)
    layer = np.arange(int(width.max()))[:, None]
    gains = objective.gain(np.minimum(few + layer, useful))[layer < width]
    rank = gains.size - (budget - int(few.sum()))
    return float(np.partition(gains, rank)[rank])


def _first_guess(objective: Objective, budget: int, lower: Counts, useful: Counts) -> float:
    """Return the log price at which gains like 1/n^2 would spend the budget without active bounds."""
    share = (budget - int(lower.sum())) / int((useful - lower).sum())
    root = float(np.sqrt(objective.gain(lower + share * (useful - lower))).mean())
    return 2 * math.log(root) if root > 0 else math.nan
