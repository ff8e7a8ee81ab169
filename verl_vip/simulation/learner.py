"""A policy that learns from simulated updates, so that success probabilities drift with every step."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.allocation.validation import as_count
from verl_vip.errors import InvalidInputError
from verl_vip.simulation.update import Update
from verl_vip.simulation.world import World
from verl_vip.strategies.outcomes import Outcomes

#: Decay of the running mean square of the gradient.
_MEMORY = 0.9


@dataclass(frozen=True)
class LearnerSettings:
    """How the policy learns.

    Attributes:
        learning_rate: Length of a typical step. Gradients are divided by the root of their running mean square, as in
            Adam, so that the scale of an arm's gradient does not matter.
        noise: sigma_Z, the standard deviation of the part of a rollout's score that its reward does not explain.
        fragile_dimensions: Number `k` of directions in which noise does damage.
        fragility: Cost of half a squared unit of displacement along them, in logits.
        start_displacement: Length of the displacement before training, at which the world's success logits hold. The
            default is about where noise and signal balance under even counts.

    Raises:
        InvalidInputError: If there is no fragile dimension, or a number is negative or not finite.
    """

    learning_rate: float = 0.5
    noise: float = 50.0
    fragile_dimensions: int = 224
    fragility: float = 0.5
    start_displacement: float = 1.6

    def __post_init__(self) -> None:
        if as_count(self.fragile_dimensions, "fragile_dimensions") < 1:
            raise InvalidInputError(f"fragile_dimensions must be at least 1; got {self.fragile_dimensions}.")
        for name in ("learning_rate", "noise", "fragility", "start_displacement"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} must be finite and not negative; got {getattr(self, name)}.")


def draw_rewards(success: Tensor, counts: Tensor, generator: torch.Generator) -> Outcomes:
    """Draw 0/1 rewards for `B` prompts.

    Args:
        success: A `B` tensor of success probabilities.
        counts: A `B` int64 tensor of rollouts.
        generator: The source of randomness.

    Returns:
        `B` reward tensors of these lengths.
    """
    probability = torch.repeat_interleave(success, counts)
    draws = torch.rand(len(probability), generator=generator, dtype=torch.float64)
    return torch.split((draws < probability).to(torch.float64), counts.tolist())


class Learner:
    """A policy with success logit `start + direction . w - fragility / 2 (|z|^2 - |z0|^2)` for each prompt.

    A step adds the update, scaled to a length of about `learning_rate`, to the parameters (w, z). The signal of each
    prompt moves w along the prompt's direction, which its neighbours share, and moves z back towards zero. Noise moves
    all parameters at random, with the estimator's variance given the rewards. Noise that the signal does not undo
    therefore lowers success everywhere, and an estimator with less variance at equal cost learns faster.

    Args:
        world: The `Q` prompts.
        settings: How the policy learns.
        seed: Seed of rewards and noise.
    """

    def __init__(self, world: World, settings: LearnerSettings, seed: int) -> None:
        self._world, self._settings = world, settings
        self._learned = torch.zeros(world.directions.shape[1], dtype=torch.float64)
        self._displaced = torch.zeros(settings.fragile_dimensions, dtype=torch.float64)
        self._displaced[0] = settings.start_displacement
        self._mean_square = 0.0
        self._generator = torch.Generator()
        self._generator.manual_seed(seed)

    def success(self) -> Tensor:
        """Return a `Q` float64 tensor of every prompt's current success probability."""
        settings = self._settings
        damage = settings.fragility / 2 * (self._displaced.square().sum() - settings.start_displacement**2)
        return torch.sigmoid(self._world.start_logits + self._world.directions @ self._learned - damage)

    def sample(self, success: Tensor, counts: Tensor) -> Outcomes:
        """Draw 0/1 rewards.

        Args:
            success: A `B` tensor of success probabilities.
            counts: A `B` int64 tensor of rollouts.

        Returns:
            `B` reward tensors of these lengths.
        """
        return draw_rewards(success, counts, self._generator)

    def learn(self, rows: Tensor, update: Update) -> None:
        """Take a step.

        Args:
            rows: A `B` int64 tensor, which prompts of the world the update is about.
            update: Its coefficients.
        """
        if not update.used:
            return
        settings, width = self._settings, len(self._learned)
        signal = update.signal / update.used
        towards = self._world.directions[rows].T @ signal
        back = -settings.fragility * float(signal.sum()) * self._displaced
        gradient = torch.cat([towards, back])
        scale = settings.noise * float(update.noise.sum()) ** 0.5 / update.used / len(gradient) ** 0.5
        noise = torch.randn(len(gradient), generator=self._generator, dtype=torch.float64)
        gradient = gradient + scale * noise
        square = float(gradient.square().sum())
        first = self._mean_square == 0
        self._mean_square = square if first else _MEMORY * self._mean_square + (1 - _MEMORY) * square
        if self._mean_square == 0:
            return
        step = settings.learning_rate / self._mean_square**0.5 * gradient
        self._learned = self._learned + step[:width]
        self._displaced = self._displaced + step[width:]
