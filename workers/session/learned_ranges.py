"""Where the rewards of each data source lie, as far as they were seen; for scorers of which nothing was set."""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from verl_vip.config import VipConfig

logger = logging.getLogger("verl_vip")

_UNIT = (0.0, 1.0)
#: What a reward may miss its range by, in widths of it.
_ROUNDING = 1e-6
#: Training rollouts of a source after which a failure should have been among them.
_MANY = 512


class LearnedRanges:
    """Maps rewards to shares of success without ever refusing one; for validation, which must not end a run.

    A source's range is the one that `vip.reward_range_by_source` names for it. Of a source that is not named the range
    is learned: the narrower of [0, 1] and `vip.reward_range`, each widened as far as the source's rewards went, in
    training or validation. So a failure that earns 0 counts as 0 beside sources whose failures earn -1.

    Args:
        vip: The settings of the run.
    """

    def __init__(self, vip: VipConfig) -> None:
        self._vip = vip
        self._seen: dict[str, tuple[float, float]] = {}
        self._trained: Counter[str] = Counter()
        self._told: set[tuple[str, str]] = set()

    def see(self, sources: Sequence[str], rewards: Sequence[float]) -> None:
        """Note what rollouts earned; what is not finite is left out."""
        earned: dict[str, set[float]] = defaultdict(set)
        for source, reward in zip(sources, rewards, strict=True):
            earned[source].add(reward)
        for source, values in earned.items():
            finite = [value for value in values if math.isfinite(value)]
            if finite:
                low, high = self._seen.get(source, (math.inf, -math.inf))
                self._seen[source] = min(low, *finite), max(high, *finite)

    def see_training(self, sources: Sequence[str], rewards: Sequence[float]) -> None:
        """Note what training rollouts earned, and tell of a source that has not once earned what a failure should."""
        self.see(sources, rewards)
        self._trained.update(sources)
        for source in (set(sources) & self._seen.keys()) - self._vip.reward_range_by_source.keys():
            least, most = self._seen[source]
            low, high = self._vip.reward_range
            if self._trained[source] >= _MANY and low + _ROUNDING * (high - low) < least < most:
                self._tell(
                    source,
                    "%d rollouts of data source %r earned at least %g, where vip.reward_range has %g for a failure. If "
                    "%g is what a failed rollout earns there, set +vip.reward_range_by_source={%s: [%g, solved]}.",
                    *(self._trained[source], source, least, low, least, source, least),
                )

    def share(self, source: str, reward: float) -> float:
        """Return where a reward that was seen lies between a failure (0) and a success (1)."""
        low, high = self._range(source)
        return min(max((reward - low) / (high - low), 0.0), 1.0)

    def _range(self, source: str) -> tuple[float, float]:
        seen, known = self._seen[source], self._vip.range_of(source)
        named = source in self._vip.reward_range_by_source
        bases = [known] if named else [known, _UNIT]
        found = min((_widened(base, seen) for base in bases), key=lambda pair: pair[1] - pair[0])
        if found in bases:
            return found
        found = known if named else found
        self._tell(
            source,
            "validation rewards of data source %r go from %g to %g, outside its range %s; they are counted as shares "
            "of %s. Set +vip.reward_range_by_source={%s: [failed, solved]} to what its scorer pays.",
            *(source, *seen, list(known), list(found), source),
        )
        return found

    def _tell(self, source: str, message: str, *values: object) -> None:
        if (source, message) not in self._told:
            self._told.add((source, message))
            logger.warning(message, *values)


def _widened(base: tuple[float, float], seen: tuple[float, float]) -> tuple[float, float]:
    slack = _ROUNDING * (base[1] - base[0])
    low = base[0] if seen[0] >= base[0] - slack else seen[0]
    high = base[1] if seen[1] <= base[1] + slack else seen[1]
    return low, high
