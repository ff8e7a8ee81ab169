"""Ends a run whose agent-loop workers died with their node; verl would wait for them forever."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

logger = logging.getLogger("verl_vip")

_LOOK_EVERY_S = 5.0
#: verl gets this time to end with its own error, which may say more.
_GRACE_S = 30.0


def _end_process() -> None:
    os._exit(1)


class Liveness(threading.Thread):
    """Keeps one pending call to each actor; Ray fails the call when the actor's process or node is gone.

    The call to a busy actor stays pending. verl distributes its agent-loop workers over all nodes, so at least one of
    them dies with a node. verl may then wait forever, for TransferQueue or for a rank in a collective operation. An
    exception cannot reach a thread that waits outside Python, so the process is ended, and the job with it.

    Args:
        actors: Ray actor handles.
        end: Ends the process.
        every: Seconds between two checks.
        grace: Seconds that verl gets to end by itself.
    """

    def __init__(
        self,
        actors: Sequence[Any],
        end: Callable[[], None] = _end_process,
        every: float = _LOOK_EVERY_S,
        grace: float = _GRACE_S,
    ) -> None:
        super().__init__(name="verl-vip-liveness", daemon=True)
        self._pings = {actor.__ray_ready__.remote(): actor for actor in actors}
        self._end, self._every, self._grace = end, every, grace
        self._stopped = threading.Event()

    def run(self) -> None:
        """Check the actors until one is dead."""
        while self._pings and not self._stopped.wait(self._every):
            death = self._look()
            if death is not None:
                logger.error(
                    "an agent-loop worker died, and its rollouts are lost: %s Start the same command again to resume "
                    "from the last checkpoint. If verl does not end within %.0f s, this process is ended.",
                    " ".join(str(death).split()),
                    self._grace,
                )
                if not self._stopped.wait(self._grace):
                    self._end()
                return

    def stop(self) -> None:
        """Stop checking."""
        self._stopped.set()

    def _look(self) -> RayActorError | None:
        answered, _ = ray.wait(list(self._pings), num_returns=len(self._pings), timeout=0)
        for ping in answered:
            actor = self._pings.pop(ping)
            try:
                ray.get(ping)
            except ActorUnavailableError:
                pass  # Ray does not know yet whether it is dead or disconnected; the next call will show.
            except RayActorError as death:
                return death
            self._pings[actor.__ray_ready__.remote()] = actor
        return None
