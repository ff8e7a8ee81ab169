"""Random draws of predicted success probabilities."""

import numpy as np
import torch
from torch import Tensor

from verl_vip.prediction.contract import Prediction


def draw_success(prediction: Prediction, generator: torch.Generator) -> Tensor:
    """Draw one success probability for each prompt from the Beta distribution of the predicted moments.

    Args:
        prediction: The predictions of `B` prompts. Where the variance is zero, the mean is returned.
        generator: Advanced by one draw, whatever `B` is.

    Returns:
        A `B` float64 tensor.
    """
    seed = int(torch.randint(2**63 - 1, (1,), generator=generator))
    mean = prediction.mean.to(torch.float64)
    variance = prediction.variance.to(torch.float64)
    strength = mean * (1 - mean) / variance.clamp_min(1e-12) - 1
    uncertain = (variance > 1e-12) & (strength > 0) & (mean > 0) & (mean < 1)
    a = torch.where(uncertain, mean * strength, 1.0).numpy()
    b = torch.where(uncertain, (1 - mean) * strength, 1.0).numpy()
    # torch's Beta distribution takes no generator.
    drawn = torch.from_numpy(np.random.default_rng(seed).beta(a, b))
    return torch.where(uncertain, drawn, mean)
