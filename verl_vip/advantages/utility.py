"""Utilities of the success probability, which training maximises by weighting each prompt's gradient.

Gradient ascent on `sum_q G(p_q)` multiplies a prompt's gradient by G'(p_q), and its variance by G'(p_q)^2. With the
probability *predicted* before sampling, the weight leaves the gradient unbiased. With a weight from the same rewards
that it multiplies, such as one over the group's mean or standard deviation, it would be biased.
"""

from typing import Literal, get_args

from torch import Tensor

from verl_vip.errors import InvalidInputError

UtilityName = Literal["success", "log_success", "sqrt_success", "arcsine"]


def utility_slope(utility: UtilityName, probability: Tensor, *, floor: float) -> Tensor:
    """Return G'(p) for each prompt, a float64 tensor of the probability's shape.

    | utility | G(p) | G'(p) |
    |---|---|---|
    | success | p | 1 |
    | log_success | log p, maximum-likelihood RL (arXiv 2602.02710, 2510.13651) | 1/p |
    | sqrt_success | sqrt(p) | 1 / (2 sqrt(p)) |
    | arcsine | 2 arcsin sqrt(p), the objective of GRPO's normalisation (arXiv 2510.13651) | 1 / sqrt(p (1 - p)) |

    Args:
        utility: The name of G.
        probability: Predicted success probabilities in [0, 1].
        floor: p is clipped to [floor, 1 - floor], so that no weight exceeds 1/floor.

    Raises:
        InvalidInputError: If the name is unknown, or the floor is not in (0, 0.5).
    """
    if not 0 < floor < 0.5:
        raise InvalidInputError(f"the utility's floor must be between 0 and 0.5; got {floor}.")
    p = probability.double().clamp(floor, 1 - floor)
    if utility == "success":
        return p.new_ones(p.shape)
    if utility == "log_success":
        return 1 / p
    if utility == "sqrt_success":
        return 0.5 / p.sqrt()
    if utility == "arcsine":
        return (p * (1 - p)).rsqrt()
    raise InvalidInputError(f"utility must be one of {', '.join(get_args(UtilityName))}; got {utility!r}.")
