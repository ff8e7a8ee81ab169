"""Reward ranges of data sources, learned from the rewards seen; for sources without a configured range."""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from verl_vip.config import VipConfig

logger = logging.getLogger("verl_vip")

_UNIT = (0.0, 1.0)
#: How far a reward may lie outside its range, as a fraction of the range.
_ROUNDING = 1e-6
#: After so many training rollouts of a source, at least one should have failed.
_MANY = 512


class LearnedRanges:
    """Maps any reward to a share of success in [0, 1]; for validation, which must not end a run.

    The range of a source is the one in `vip.reward_range_by_source`. If there is none, it is learned: [0, 1] and
    `vip.reward_range` are both widened to contain the source's rewards in training and validation, and the narrower
    one is used. So a failure with reward 0 counts as 0 even if `vip.reward_range` starts at -1.

    Args:
        vip: The settings of the run.
    """

    def __init__(self, vip: VipConfig) -> None:
        self._vip = vip
        self._seen: dict[str, tuple[float, float]] = {}
        self._trained: Counter[str] = Counter()
        self._warned: set[tuple[str, str]] = set()

    def see(self, sources: Sequence[str], rewards: Sequence[float]) -> None:
        """Note the rewards of rollouts; those that are not finite are ignored."""
        earned: dict[str, set[float]] = defaultdict(set)
        for source, reward in zip(sources, rewards, strict=True):
            earned[source].add(reward)
        for source, values in earned.items():
            finite = [value for value in values if math.isfinite(value)]
            if finite:
                low, high = self._seen.get(source, (math.inf, -math.inf))
                self._seen[source] = min(low, *finite), max(high, *finite)

    def see_training(self, sources: Sequence[str], rewards: Sequence[float]) -> None:
        """Note the rewards of training rollouts, and warn of a source that never had the reward of a failure."""
        self.see(sources, rewards)
        self._trained.update(sources)
        for source in (set(sources) & self._seen.keys()) - self._vip.reward_range_by_source.keys():
            least, most = self._seen[source]
            low, high = self._vip.reward_range
            if self._trained[source] >= _MANY and low + _ROUNDING * (high - low) < least < most:
                self._warn(
                    source,
                    "All %d rollouts of data source %r had a reward of at least %g, but vip.reward_range has %g for a "
                    "failure. If a failed rollout gets %g there, set +vip.reward_range_by_source={%s: [%g, solved]}.",
                    *(self._trained[source], source, least, low, least, source, least),
                )

    def share(self, source: str, reward: float) -> float:
        """Return the position of a noted reward between a failure (0) and a success (1)."""
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
        self._warn(
            source,
            "validation rewards of data source %r range from %g to %g, outside its range %s; they are counted as "
            "shares of %s. Set +vip.reward_range_by_source={%s: [failed, solved]} to its scorer's rewards.",
            *(source, *seen, list(known), list(found), source),
        )
        return found

    def _warn(self, source: str, message: str, *values: object) -> None:
        if (source, message) not in self._warned:
            self._warned.add((source, message))
            logger.warning(message, *values)


def _widened(base: tuple[float, float], seen: tuple[float, float]) -> tuple[float, float]:
    slack = _ROUNDING * (base[1] - base[0])
    low = base[0] if seen[0] >= base[0] - slack else seen[0]
    high = base[1] if seen[1] <= base[1] + slack else seen[1]
    return low, high
