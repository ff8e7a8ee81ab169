"""A policy that learns from simulated updates, and whose success drifts with every step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.simulation.update import Update
from verl_vip.simulation.world import World
from verl_vip.strategies.outcomes import Outcomes


@dataclass(frozen=True)
class LearnerSettings:
    """How the policy learns.

    Attributes:
        learning_rate: Step along the estimated gradient of the mean success logit's likelihood.
        noise: sigma_Z, the standard deviation of the part of a rollout's score that its reward does not explain.
        fragile_dimensions: Number `k` of directions in which noise does damage.
        fragility: How much a squared unit of displacement along them costs, in logits.
    """

    learning_rate: float = 1.0
    noise: float = 40.0
    fragile_dimensions: int = 224
    fragility: float = 0.5


class Learner:
    """A policy with success logit `start + direction . w - fragility / 2 |z|^2` for each prompt.

    A step adds `learning_rate` times the update to the parameters (w, z): the signal of each prompt moves w along
    the prompt's direction, which its neighbours share, and z back towards zero; noise moves all parameters at
    random, with the variance that the estimator has given the rewards. So noise that is not undone by signal
    costs success everywhere, and a smaller variance at equal cost learns faster.

    Args:
        world: The `Q` prompts.
        settings: How it learns.
        seed: Of rewards and noise.
    """

    def __init__(self, world: World, settings: LearnerSettings, seed: int) -> None:
        self._world, self._settings = world, settings
        self._learned = torch.zeros(world.directions.shape[1], dtype=torch.float64)
        self._displaced = torch.zeros(settings.fragile_dimensions, dtype=torch.float64)
        self._generator = torch.Generator()
        self._generator.manual_seed(seed)

    def success(self) -> Tensor:
        """Return a `Q` float64 tensor of every prompt's current success probability."""
        damage = self._settings.fragility / 2 * self._displaced.square().sum()
        return torch.sigmoid(self._world.start_logits + self._world.directions @ self._learned - damage)

    def sample(self, success: Tensor, counts: Tensor) -> Outcomes:
        """Draw 0/1 rewards.

        Args:
            success: A `B` tensor of success probabilities.
            counts: A `B` int64 tensor of rollouts.

        Returns:
            `B` reward tensors of these lengths.
        """
        probability = torch.repeat_interleave(success, counts)
        draws = torch.rand(len(probability), generator=self._generator, dtype=torch.float64)
        return torch.split((draws < probability).to(torch.float64), counts.tolist())

    def learn(self, rows: Tensor, update: Update) -> None:
        """Take a step.

        Args:
            rows: A `B` int64 tensor, which prompts of the world the update is about.
            update: Its coefficients.
        """
        if not update.used:
            return
        settings = self._settings
        signal = update.signal / update.used
        towards = self._world.directions[rows].T @ signal
        back = -settings.fragility * float(signal.sum()) * self._displaced
        size = len(self._learned) + len(self._displaced)
        scale = settings.noise * float(update.noise.sum()) ** 0.5 / update.used / size**0.5
        noise = scale * torch.randn(size, generator=self._generator, dtype=torch.float64)
        self._learned = self._learned + settings.learning_rate * (towards + noise[: len(self._learned)])
        self._displaced = self._displaced + settings.learning_rate * (back + noise[len(self._learned) :])
