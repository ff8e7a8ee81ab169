"""Which share of a pool of prompts can teach, and how it moved."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from verl_vip.records.outcomes import PromptOutcomes
from verl_vip.statistics.intervals import Estimate
from verl_vip.statistics.success_distribution import SuccessDistribution, fit_success_distribution

#: A prompt can teach if its success probability lies between these. At the limits a third of all groups of 8 rollouts
#: have both outcomes; beyond them, most rollouts are spent on groups without a gradient.
TEACHES = (0.05, 0.95)
#: A prompt's latest groups with this many rollouts tell its present probability. More groups would tell it more
#: precisely, but the policy has moved since the earlier ones.
_RECENT = 16
#: A window needs this many groups.
_LEAST_GROUPS = 64


@dataclass(frozen=True)
class Window:
    """The share of prompts that can teach among those of some steps, from `first` to `last`."""

    first: int
    last: int
    teaches: Estimate


def recent(outcomes: PromptOutcomes, rollouts: int = _RECENT) -> PromptOutcomes:
    """Return the latest groups of each prompt: as few as have `rollouts` rollouts, or all."""
    trials, prompt = outcomes.trials, outcomes.prompt
    total = np.bincount(prompt, trials, len(outcomes.keys))
    before = np.cumsum(trials) - trials  # groups are ordered by prompt, and by step within it
    ends = np.cumsum(total)
    later = ends[prompt] - before - trials
    return outcomes.select(later < rollouts)


def estimate_pool(outcomes: PromptOutcomes) -> SuccessDistribution:
    """Return the estimated distribution of the prompts' success probabilities at their latest groups."""
    return fit_success_distribution(*recent(outcomes).totals())


def teaching_windows(outcomes: PromptOutcomes, most: int) -> list[Window]:
    """Return the share of prompts that can teach over training, in up to `most` windows with equally many groups.

    Args:
        outcomes: The groups of a run.
        most: The largest number of windows. There are fewer if they would be too small, and none for a single step.
    """
    steps = np.unique(outcomes.step)
    count = min(most, len(outcomes.step) // _LEAST_GROUPS, len(steps))
    if count < 2:
        return []
    edges = np.quantile(outcomes.step, np.linspace(0, 1, count + 1))
    found = []
    for low, high in pairwise(edges):
        inside = (outcomes.step >= low) & ((outcomes.step < high) | (high == edges[-1]))
        if inside.any():
            mine = outcomes.select(inside)
            found.append(Window(int(mine.step.min()), int(mine.step.max()), estimate_pool(mine).share(*TEACHES)))
    return found


def without_signal(outcomes: PromptOutcomes) -> tuple[float, float, float]:
    """Return the shares of groups whose rewards are all failures, all successes, and all alike in between."""
    rate = outcomes.successes / outcomes.trials
    alike = ~outcomes.varied
    kinds = (alike & (rate <= 0), alike & (rate >= 1), alike & (rate > 0) & (rate < 1))
    wrong, right, between = (float(np.mean(kind)) for kind in kinds)
    return wrong, right, between
