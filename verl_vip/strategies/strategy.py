"""The contract that every allocation strategy keeps."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from verl_vip.errors import InfeasibleBudgetError, InvalidInputError
from verl_vip.prediction.predictor import Prediction, Prompts


@dataclass(frozen=True)
class Budget:
    """How many rollouts one training step may spend.

    Attributes:
        total: Rollouts of the whole step, all prompts together; spent exactly.
        lower: Least rollouts of one prompt.
        upper: Most rollouts of one prompt.
    """

    total: int
    lower: int
    upper: int

    def require_feasible(self, num_prompts: int) -> None:
        """Raise unless some counts within the bounds sum to the total.

        Raises:
            InvalidInputError: If there is no prompt, or a bound is negative or crossed.
            InfeasibleBudgetError: If `total` is outside `[B * lower, B * upper]`.
        """
        if num_prompts < 1:
            raise InvalidInputError("there is no prompt to allocate rollouts to; give at least one.")
        if not 0 <= self.lower <= self.upper:
            raise InvalidInputError(
                f"bounds must satisfy 0 <= lower <= upper; got lower={self.lower}, upper={self.upper}."
            )
        least, most = num_prompts * self.lower, num_prompts * self.upper
        if not least <= self.total <= most:
            raise InfeasibleBudgetError(
                f"{num_prompts} prompts with {self.lower} to {self.upper} rollouts each take {least} to {most} "
                f"rollouts, and the budget is {self.total}; change the bounds or the budget."
            )


@dataclass(frozen=True)
class Selection:
    """Which of the sampled rollouts the update uses, and how much each prompt weighs.

    Attributes:
        keep: `B` boolean tensors, one flag a rollout in the order sampled; None keeps everything.
        prompt_weight: A `B` tensor that multiplies each prompt's gradient; None means one for all.
    """

    keep: tuple[Tensor, ...] | None = None
    prompt_weight: Tensor | None = None


#: One training step of a strategy. It yields a `B` int64 tensor of rollouts to sample now, is sent `B` reward
#: tensors (what was just sampled, one tensor a prompt), and so on until it returns its selection. A strategy
#: that decides everything beforehand yields once and ignores what it is sent.
Rounds = Generator[Tensor, tuple[Tensor, ...], Selection]


@runtime_checkable
class Strategy(Protocol):
    """Spends one step's budget over a batch of prompts."""

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Start a step over `B` prompts.

        Raises:
            InvalidInputError: If the budget is infeasible for these prompts.
        """
        ...
