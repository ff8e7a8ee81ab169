"""Validation batches, counted by data source."""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from verl_vip.workers.session.learned_ranges import LearnedRanges
from verl_vip.workers.session.outcomes import Rollouts

logger = logging.getLogger("verl_vip")


class ValidationTally:
    """Keeps the data source of each validation prompt until its rewards arrive."""

    def __init__(self) -> None:
        self._expected: dict[str, tuple[str, int]] = {}

    def expect(self, uids: Sequence[str], labels: Sequence[str], samples: Sequence[int]) -> None:
        """Note the data source and the number of samples of each validation prompt."""
        for uid, label, count in zip(uids, labels, samples, strict=True):
            self._expected[uid] = (label, count)

    def count(self, rollouts: Rollouts, ranges: LearnedRanges) -> tuple[dict[str, float], dict[str, int]]:
        """Return the sum of mean scores and the number of problems of each data source, and forget the prompts.

        The score of a rollout is the accuracy that its scorer reports, or else the share of success of its reward. A
        rollout that did not come back is wrong, as in verl's own accuracy, and so is one without a finite reward.

        Args:
            rollouts: The rollouts of the batch that verl collected.
            ranges: The reward range of each data source. No reward is refused.
        """
        accuracies = rollouts.accuracies or [None] * len(rollouts.uids)
        scored_rows = [
            (uid, self._expected[uid][0], reward, accuracy)
            for uid, reward, accuracy in zip(rollouts.uids, rollouts.rewards, accuracies, strict=True)
            if math.isfinite(reward) and uid in self._expected
        ]
        silent = [(label, reward) for _, label, reward, accuracy in scored_rows if accuracy is None]
        ranges.see([label for label, _ in silent], [reward for _, reward in silent])
        solved: dict[str, float] = defaultdict(float)
        scored: Counter[str] = Counter()
        for uid, label, reward, accuracy in scored_rows:
            solved[uid] += ranges.share(label, reward) if accuracy is None else accuracy
            scored[uid] += 1
        correct: dict[str, float] = defaultdict(float)
        count: Counter[str] = Counter()
        failed = 0
        for uid, (label, samples) in self._expected.items():
            failed += max(samples - scored[uid], 0)
            # A problem counts once however often it was sampled.
            correct[label] += solved[uid] / max(samples, scored[uid], 1)
            count[label] += 1
        if failed:
            logger.warning("%d validation rollouts failed or have no finite reward; they count as wrong", failed)
        self._expected.clear()
        return dict(correct), dict(count)
