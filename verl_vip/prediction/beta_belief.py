"""A prediction as a Beta distribution, which rollouts can update."""

from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prediction

#: Least strength. At zero, a group of one rollout would have no baseline and unbounded variance.
LEAST_STRENGTH = 0.1


@dataclass(frozen=True)
class BetaBelief:
    """The prior p ~ Beta(s m, s (1 - m)) of each prompt, before sampling.

    Attributes:
        mean: A `B` float64 tensor of m, in [0, 1].
        strength: A `B` float64 tensor of s, positive: the number of rollouts that the prior is worth.
    """

    mean: Tensor
    strength: Tensor

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.strength.shape:
            raise InvalidInputError(
                f"mean and strength must be (B,) tensors of one length; got {tuple(self.mean.shape)} and "
                f"{tuple(self.strength.shape)}."
            )
        if not bool(((self.mean >= 0) & (self.mean <= 1) & (self.strength > 0)).all()):
            raise InvalidInputError("a Beta prior needs means in [0, 1] and positive strengths.")

    @classmethod
    def from_prediction(cls, prediction: Prediction, *, strongest: float) -> "BetaBelief":
        """Return the Beta distributions with the prediction's mean and variance, s = m (1 - m) / Var[p] - 1.

        Args:
            prediction: The `B` predictions.
            strongest: The largest s. A predictor without variances implies s = infinity, and predicted variances do not
                cover how far the policy has drifted since; this limits the trust in both.

        Raises:
            InvalidInputError: If `strongest` is below `LEAST_STRENGTH`.
        """
        if not strongest >= LEAST_STRENGTH:
            raise InvalidInputError(f"the largest prior strength must be at least {LEAST_STRENGTH}; got {strongest}.")
        mean = prediction.mean.double().clamp(0, 1)
        variance = prediction.variance.double()
        strength = torch.where(variance > 0, mean * (1 - mean) / variance - 1, torch.inf)
        return cls(mean, strength.clamp(LEAST_STRENGTH, strongest))
