"""The outcomes of one training step, checked and pooled by prompt."""

from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prompts, require_tensors


@dataclass(frozen=True)
class Observations:
    """The outcomes of one step: each prompt once, with at least one rollout.

    Attributes:
        prompts: The `B'` distinct prompts that were sampled, in the order they first appear.
        successes: A `B'` float64 tensor, the sum of each prompt's rewards.
        trials: A `B'` float64 tensor of rollout counts, at least 1.
        squares: A `B'` float64 tensor, the sum of each prompt's squared rewards.
    """

    prompts: Prompts
    successes: Tensor
    trials: Tensor
    squares: Tensor

    @property
    def rate(self) -> Tensor:
        """A `B'` tensor of observed success rates."""
        return self.successes / self.trials


def pool(prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> Observations:
    """Check the outcomes of one step, pool those of equal prompts, and drop prompts without rollouts.

    Args:
        prompts: `B` prompts; ids may repeat.
        successes: A `B` tensor of summed rewards, each within `[0, trials]`.
        trials: A `B` integer tensor of rollout counts.
        squares: A `B` tensor of summed squared rewards, each within `[successes^2 / trials, successes]`; None if
            every reward was 0 or 1.

    Raises:
        InvalidInputError: If a shape, a type or a value is not as above.
    """
    rows = len(prompts)
    second = successes if squares is None else squares
    require_tensors(successes=successes, trials=trials, squares=second)
    if successes.shape != (rows,) or trials.shape != (rows,) or second.shape != (rows,):
        raise InvalidInputError(
            f"successes, trials and squares must hold one number for each of the {rows} prompts; "
            f"got shapes {tuple(successes.shape)}, {tuple(trials.shape)} and {tuple(second.shape)}."
        )
    if trials.is_floating_point() or trials.dtype is torch.bool:
        raise InvalidInputError(f"trials must be an integer tensor of rollout counts; got {trials.dtype}.")
    won, tried = successes.detach().to("cpu", torch.float64), trials.detach().to("cpu", torch.float64)
    # Sums of float32 rewards may exceed the count by rounding error, which is tolerated.
    slack = 1e-5 * tried.clamp_min(1)
    bad = ~((won >= -slack) & (won <= tried + slack)) | (tried < 0)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise InvalidInputError(
            f"row {row} has {won[row].item()} successes in {int(tried[row])} trials; successes must lie in "
            "[0, trials]: give the sum of rewards scaled to [0, 1]."
        )
    won = won.clamp_min(0).minimum(tried)
    square = _squares(won, tried, second, slack)
    if len(set(prompts.ids)) == rows and (tried > 0).all():
        return Observations(prompts, won, tried, square)
    used = tried.nonzero()[:, 0]
    names = [prompts.ids[row] for row in used.tolist()]
    number: dict[str, int] = {}
    into = torch.tensor([number.setdefault(name, len(number)) for name in names], dtype=torch.long)
    first = dict(zip(reversed(names), reversed(used.tolist()), strict=True))
    keep = [first[name] for name in number]
    empty = torch.zeros(len(keep), dtype=torch.float64)
    return Observations(
        prompts.select(keep),
        empty.index_add(0, into, won[used]),
        empty.index_add(0, into, tried[used]),
        empty.index_add(0, into, square[used]),
    )


def _squares(won: Tensor, tried: Tensor, squares: Tensor, slack: Tensor) -> Tensor:
    """Return the sums of squares, checked to be possible for rewards in [0, 1] with these sums."""
    square = squares.detach().to("cpu", torch.float64)
    least = won.square() / tried.clamp_min(1)
    bad = ~((square >= least - slack) & (square <= won + slack))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise InvalidInputError(
            f"row {row} has squared rewards that sum to {square[row].item()}, but rewards in [0, 1] that sum to "
            f"{won[row].item()} over {int(tried[row])} rollouts have sums from {least[row].item()} to "
            f"{won[row].item()}; give the sum of the squares of the same rewards."
        )
    return square.maximum(least).minimum(won)
