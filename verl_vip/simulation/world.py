"""Prompts of a simulated data set: families, embeddings and difficulties."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.allocation.validation import as_count
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prompts


@dataclass(frozen=True)
class WorldSettings:
    """The properties of a simulated data set.

    Attributes:
        num_prompts: Number of prompts.
        num_families: Number of families of related prompts.
        dimensions: Number of directions in which prompts differ, and along which the policy learns.
        family_share: Share of a prompt's direction that its family has in common, in [0, 1].
        common_share: Share that all prompts have in common, in [0, 1].
        family_spread: Standard deviation of difficulty between families, in logits.
        related_spread: Standard deviation of difficulty that follows a prompt's direction, in logits.
        own_spread: Standard deviation of difficulty that embeddings do not show, in logits.
        mean_logit: Mean success logit at the start.
        embedding_noise: Noise of the embedding, relative to the length of a prompt's direction.
        rates: Success rates of prompts of a real data set, any number of them. The start logits then have their
            distribution: they keep their order, and the mean and the spreads only say what the order follows. None
            leaves the logits as they are drawn.

    Raises:
        InvalidInputError: If a rate is not between 0 and 1, a number is not an integer of at least 1, a share is
            outside [0, 1], a spread or the noise is negative, or a value is not finite.
    """

    num_prompts: int = 2048
    num_families: int = 24
    dimensions: int = 32
    family_share: float = 0.5
    common_share: float = 0.2
    family_spread: float = 1.5
    related_spread: float = 1.5
    own_spread: float = 1.0
    mean_logit: float = -1.5
    embedding_noise: float = 0.1
    rates: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        sizes = [as_count(getattr(self, name), name) for name in ("num_prompts", "num_families", "dimensions")]
        if min(sizes) < 1:
            raise InvalidInputError("a simulated data set needs at least one prompt, one family and one dimension.")
        if not (0 <= self.family_share <= 1 and 0 <= self.common_share <= 1):
            raise InvalidInputError(
                f"family_share and common_share must lie in [0, 1]; got {self.family_share} and {self.common_share}."
            )
        for name in ("family_spread", "related_spread", "own_spread", "embedding_noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} must be finite and not negative; got {getattr(self, name)}.")
        if self.rates is not None and not (self.rates and all(0 < rate < 1 for rate in self.rates)):
            raise InvalidInputError("rates must hold at least one success rate, each above 0 and below 1.")
        if not math.isfinite(self.mean_logit):
            raise InvalidInputError(f"mean_logit must be finite; got {self.mean_logit}.")


@dataclass(frozen=True)
class World:
    """A simulated data set of `Q` prompts.

    Attributes:
        prompts: Ids, embeddings (`Q x d` float32), and families as labels.
        directions: A `Q x d` float64 tensor of unit vectors, the gradient of each prompt's success logit with
            respect to what the policy can learn.
        start_logits: A `Q` float64 tensor of success logits before training.
        own_logits: A `Q` float64 tensor, the part of the start logits that only a prompt's own outcomes show.
        factors: A `Q x k` float64 tensor. The rest of the start logits, except for their mean, is factors times weights
            drawn from N(0, 1). With `WorldSettings.rates`, parts and factors are those of the logits before they were
            given the distribution of the rates.
        families: A `Q` int64 tensor.
    """

    prompts: Prompts
    directions: Tensor
    start_logits: Tensor
    own_logits: Tensor
    factors: Tensor
    families: Tensor

    def __len__(self) -> int:
        return len(self.prompts)


def make_world(settings: WorldSettings, seed: int) -> World:
    """Draw a data set.

    A prompt's direction mixes a common direction, one of its family and one of its own, so that training on a prompt
    also helps its neighbours. Its difficulty is the sum of a part of its family, a part that is linear in its direction
    and a part that neither shows. The embedding is the direction with noise.

    Args:
        settings: The properties of the data set.
        seed: Seed of all draws; equal seeds give equal data sets.
    """
    generator = torch.Generator()
    generator.manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def unit(rows: Tensor) -> Tensor:
        return torch.nn.functional.normalize(rows, dim=-1)

    size, width = settings.num_prompts, settings.dimensions
    families = torch.randint(settings.num_families, (size,), generator=generator)
    own_share = max(1 - settings.common_share - settings.family_share, 0.0)
    own = unit(normal(size, width))
    mixed = (
        settings.common_share**0.5 * unit(normal(1, width))
        + settings.family_share**0.5 * unit(normal(settings.num_families, width))[families]
        + own_share**0.5 * own
    )
    directions = unit(mixed)
    members = torch.nn.functional.one_hot(families, settings.num_families).to(torch.float64)
    factors = torch.cat([settings.related_spread * own, settings.family_spread * members], 1)
    shown = settings.mean_logit + factors @ normal(width + settings.num_families)
    own_logits = settings.own_spread * normal(size)
    noise = settings.embedding_noise * unit(normal(size, width))
    embeddings = unit(directions + noise).to(torch.float32)
    logits = shown + own_logits
    if settings.rates is not None:
        quantiles = (logits.argsort().argsort() + 0.5) / size
        logits = torch.tensor(settings.rates, dtype=torch.float64).quantile(quantiles.double()).logit()
    ids = tuple(f"prompt-{row}" for row in range(size))
    labels = tuple(f"family-{family}" for family in families.tolist())
    return World(Prompts(ids, embeddings, labels), directions, logits, own_logits, factors, families)
