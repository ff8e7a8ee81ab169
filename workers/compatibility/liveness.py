"""Ends a run whose agent-loop workers died with their node, which verl would wait for without end."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

logger = logging.getLogger("verl_vip")

_LOOK_EVERY_S = 5.0
#: verl's own error, if it comes, may say more than the one raised here.
_GRACE_S = 30.0


def _end_process() -> None:
    os._exit(1)


class Liveness(threading.Thread):
    """Keeps one unanswered call with each actor; Ray fails it when the actor's process or node is gone.

    An actor that is merely busy leaves the call unanswered, for as long as it likes. verl spreads its agent-loop
    workers over all nodes, so that a node that dies takes one along. Whatever else verl waits for then, an answer of
    TransferQueue or of a rank in a collective, may never come, and no exception can reach a thread that waits outside
    Python: the process is ended, and with it the job.

    Args:
        actors: Ray actor handles.
        end: Ends the process.
        every: Seconds from one look to the next.
        grace: Seconds that verl is given to end by itself.
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
        """Look until an actor is dead."""
        while self._pings and not self._stopped.wait(self._every):
            death = self._look()
            if death is not None:
                logger.error(
                    "an agent-loop worker died, and the rollouts it had with it: %s Start the same command again to "
                    "go on from the last checkpoint. If verl does not end within %.0f s, it is ended.",
                    " ".join(str(death).split()),
                    self._grace,
                )
                if not self._stopped.wait(self._grace):
                    self._end()
                return

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _look(self) -> RayActorError | None:
        answered, _ = ray.wait(list(self._pings), num_returns=len(self._pings), timeout=0)
        for ping in answered:
            actor = self._pings.pop(ping)
            try:
                ray.get(ping)
            except ActorUnavailableError:
                pass  # Ray does not know yet whether it is dead or cut off; the next call will tell.
            except RayActorError as death:
                return death
            self._pings[actor.__ray_ready__.remote()] = actor
        return None
