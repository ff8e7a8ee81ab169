"""The interface of all allocation strategies."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from verl_vip.advantages.selection import Selection, Weighing
from verl_vip.allocation.validation import as_count
from verl_vip.errors import InfeasibleBudgetError, InvalidInputError, StateError
from verl_vip.prediction.contract import Prediction, Prompts


@dataclass(frozen=True)
class Budget:
    """The rollouts that one training step may spend.

    Attributes:
        total: Rollouts of the whole step, over all prompts and rounds; never exceeded. A strategy that samples every
            prompt in one round spends it exactly.
        lower: Least number of rollouts of a prompt that gets any.
        upper: Largest number of rollouts of one prompt, over all rounds.

    Raises:
        InvalidInputError: If one is not an integer, a bound is negative, or `lower` exceeds `upper`.
    """

    total: int
    lower: int
    upper: int

    def __post_init__(self) -> None:
        for name in ("total", "lower", "upper"):
            as_count(getattr(self, name), name)
        if not 0 <= self.lower <= self.upper:
            raise InvalidInputError(
                f"bounds must satisfy 0 <= lower <= upper; got lower={self.lower}, upper={self.upper}."
            )

    def require_feasible(self, num_prompts: int) -> None:
        """Raise an error unless some counts within the bounds sum to the total.

        Raises:
            InvalidInputError: If there is no prompt.
            InfeasibleBudgetError: If `total` is outside `[B * lower, B * upper]`.
        """
        if num_prompts < 1:
            raise InvalidInputError("there is no prompt to allocate rollouts to; give at least one.")
        least, most = num_prompts * self.lower, num_prompts * self.upper
        if not least <= self.total <= most:
            raise InfeasibleBudgetError(
                f"{num_prompts} prompts with {self.lower} to {self.upper} rollouts each take {least} to {most} "
                f"rollouts, and the budget is {self.total}; change the bounds or the budget."
            )


#: One training step of a strategy. It yields a `B` int64 tensor of rollouts to sample now, is sent `B` reward
#: tensors (what was just sampled, one tensor a prompt, empty where nothing was asked for), and so on until it
#: returns its selection. It yields at least once; a strategy that decides beforehand ignores what it is sent.
Rounds = Generator[Tensor, tuple[Tensor, ...], Selection]


@runtime_checkable
class Strategy(Protocol):
    """Spends one step's budget over a batch of prompts.

    Over all rounds of a step, each prompt gets either no rollout or `lower` to `upper` of them, and all prompts
    together at most the total. Everything that a strategy remembers between steps, including its random generator,
    changes only while `rounds` runs and is part of `state_dict`. A strategy that remembers nothing derives from
    `Stateless`.

    Attributes:
        pool_ratio: Candidate prompts a step should offer, for each prompt of the nominal batch. It is 1 for strategies
            that take the batch as it is; above 1, some candidates get no rollout.
        group_size: Rollouts that each chosen candidate costs, if `pool_ratio` is above 1. With the bounds of the
            budget it tells how many candidates a step can serve.
        decides_beforehand: Whether the decision consists of the counts alone: one round that samples every prompt and
            spends the budget exactly. The strategy then learns nothing from the rewards, and every rollout is used.
        weighs: The fields that its selections may set beside `keep`, so that an update that cannot apply them is
            refused before anything is sampled.
    """

    @property
    def pool_ratio(self) -> float:
        """Candidate prompts for each prompt of the nominal batch."""
        ...

    @property
    def group_size(self) -> int:
        """Rollouts of a candidate that is chosen from a pool."""
        ...

    @property
    def decides_beforehand(self) -> bool:
        """Whether the strategy decides without rewards."""
        ...

    @property
    def weighs(self) -> frozenset[Weighing]:
        """The fields that its selections may set beside `keep`."""
        ...

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:
        """Start one step over `B` prompts.

        Raises:
            InvalidInputError: If the budget is infeasible for these prompts.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return tensors, numbers, strings and containers of them; loadable with `torch.load(weights_only=True)`."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value, between two steps.

        Raises:
            StateError: If the state is of another strategy.
        """
        ...


class Stateless:
    """Base class of strategies that remember nothing and take the batch as it is."""

    pool_ratio: float = 1.0
    group_size: int = 1
    decides_beforehand: bool = False
    weighs: frozenset[Weighing] = frozenset()

    def state_dict(self) -> dict[str, Any]:
        """Return the empty state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Accept the empty state only; raises `StateError` for any other."""
        if state != {}:
            holds = ", ".join(sorted(state)) if isinstance(state, Mapping) else f"a {type(state).__name__}"
            raise StateError(
                f"strategy {type(self).__name__} has no state, but the saved state holds {holds}; configure the "
                "strategy that wrote it."
            )
