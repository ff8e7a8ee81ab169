"""Notices that an agent-loop worker died, which verl's replay buffer would wait for without end."""

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from verl_vip.errors import IntegrationError

_PING_EVERY_S = 5.0


class Liveness:
    """Keeps one unanswered call with each actor; Ray fails it when the actor's process or node is gone.

    An actor that is merely busy leaves the call unanswered, for as long as it likes.

    Args:
        actors: Ray actor handles.
        every: Seconds from one look to the next.
    """

    def __init__(self, actors: Sequence[Any], every: float = _PING_EVERY_S) -> None:
        self._actors = list(actors)
        self._every = every
        self._pings: dict[Any, Any] = {}
        self._looked_at = time.monotonic()

    def check(self) -> None:
        """Look at the actors, if it is time to.

        Raises:
            IntegrationError: If one is dead.
        """
        now = time.monotonic()
        if not self._actors or now - self._looked_at < self._every:
            return
        self._looked_at = now
        waited_for = set(self._pings.values())
        self._pings |= {actor.__ray_ready__.remote(): actor for actor in self._actors if actor not in waited_for}
        answered, _ = ray.wait(list(self._pings), num_returns=len(self._pings), timeout=0)
        for ping in answered:
            del self._pings[ping]
            try:
                ray.get(ping)
            except RayActorError as error:
                raise IntegrationError(
                    f"an agent-loop worker died, and the rollouts it had with it: {' '.join(str(error).split())} Start "
                    "the same command again to go on from the last checkpoint."
                ) from error
