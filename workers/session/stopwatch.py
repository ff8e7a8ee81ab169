"""How long the parts of a step take."""

import time


class Stopwatch:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the seconds since the last lap, or since the start."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
