"""The order in which training samples the prompts."""

import torch
from torch import Tensor


class PromptStream:
    """Returns the prompts in epochs, each in a new random order.

    Args:
        num_prompts: The number `Q` of prompts.
        seed: Seed of the orders.
    """

    def __init__(self, num_prompts: int, seed: int) -> None:
        self._size = num_prompts
        self._generator = torch.Generator()
        self._generator.manual_seed(seed)
        self._rest = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> Tensor:
        """Return the next `count` rows, or all prompts if there are fewer.

        If fewer are left in an epoch, they are dropped, so that no prompt occurs twice.
        """
        count = min(count, self._size)
        if len(self._rest) < count:
            self._rest = torch.randperm(self._size, generator=self._generator)
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken
