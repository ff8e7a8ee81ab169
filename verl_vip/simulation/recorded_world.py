"""Prompts whose success follows a record, whatever is trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prompts
from verl_vip.simulation.learner import draw_rewards
from verl_vip.simulation.update import Update
from verl_vip.strategies.outcomes import Outcomes


@dataclass(frozen=True)
class RecordedWorld:
    """The success rates of `Q` prompts over a run.

    Attributes:
        prompts: `Q` prompts.
        rates: A `Q x T` float64 tensor: success rates at `T` times, evenly spaced from the first step to the last.

    Raises:
        InvalidInputError: If there is not one row for each prompt, no time, or a rate outside [0, 1].
    """

    prompts: Prompts
    rates: Tensor

    def __post_init__(self) -> None:
        if self.rates.ndim != 2 or len(self.rates) != len(self.prompts) or not self.rates.shape[1]:
            raise InvalidInputError(
                f"rates must be a (Q, T) tensor with a row for each of the {len(self.prompts)} prompts and at least "
                f"one column; got shape {tuple(self.rates.shape)}."
            )
        if not ((self.rates >= 0) & (self.rates <= 1)).all():
            raise InvalidInputError("recorded success rates must be numbers from 0 to 1.")


class RecordedPolicy:
    """A policy that succeeds at the recorded rates, with the methods of `Learner`.

    Updates do not change it: it shows what a strategy would have met in the recorded run, not where the strategy would
    have led. Between two recorded times, rates are interpolated; after the last one, they stay.

    Args:
        world: The record.
        steps: Training steps that it covers.
        seed: Seed of the rewards.
    """

    def __init__(self, world: RecordedWorld, steps: int, seed: int) -> None:
        self._rates, self._steps, self._step = world.rates.double(), steps, 0
        self._generator = torch.Generator()
        self._generator.manual_seed(seed)

    def success(self) -> Tensor:
        """Return a `Q` float64 tensor of every prompt's success probability at the coming step."""
        last = self._rates.shape[1] - 1
        position = last * min(self._step, self._steps - 1) / max(self._steps - 1, 1)
        row = min(int(position), max(last - 1, 0))
        return torch.lerp(self._rates[:, row], self._rates[:, min(row + 1, last)], position - row)

    def sample(self, success: Tensor, counts: Tensor) -> Outcomes:
        """Draw 0/1 rewards; see `Learner.sample`."""
        return draw_rewards(success, counts, self._generator)

    def learn(self, rows: Tensor, update: Update) -> None:  # noqa: ARG002
        """Go on to the next step."""
        self._step += 1
