"""The forecast for one record: what it says about its prompts, and what prediction could do with them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verl_vip.errors import InvalidInputError
from verl_vip.forecast.gains import Gain, Group, estimate_gains
from verl_vip.forecast.labels import LabelEffect, label_effect
from verl_vip.forecast.pool import (
    TEACHES,
    Window,
    estimate_pool,
    recent,
    teaching_windows,
    without_signal,
)
from verl_vip.forecast.text_clusters import cluster_texts
from verl_vip.records.outcomes import OutcomeSource, SourceKind
from verl_vip.statistics.intervals import Estimate
from verl_vip.statistics.success_distribution import GRID, SuccessDistribution

#: With a smaller share of prompts that can teach, no choice of counts or prompts helps: at most; or as estimated, and
#: at most then.
_HARDLY_ANY, _NONE, _FEW = 0.02, 0.002, 0.1
#: Rollouts of a prompt in training if the record is no training run: verl's examples of GRPO have 5 to 16.
_USUAL_ROLLOUTS = 8
_MOST_ROLLOUTS = 4096
#: Numbers of earlier groups of a prompt for which gains are estimated; None stands for a known probability.
VISITS = (0, 1, 2, 4, 8, None)
_WINDOWS = 4


@dataclass(frozen=True)
class Forecast:
    """What a record says.

    Attributes:
        path: The record.
        kind: Its kind.
        graded: Whether its rewards are graded rather than 0 or 1.
        prompts: The number of prompts.
        groups: The number of prompt groups.
        rollouts: The number of rollouts.
        steps: The first and the last training step; equal if there is only one.
        group: The rollouts of a prompt in training that the gains are about.
        group_size: The mean rollouts of a group in the record.
        success: The mean success rate over prompts, at their latest groups.
        wrong, right, alike: The shares of groups whose rewards are all failures, all successes, and all equal to a
            value in between.
        pool: The distribution of success probabilities.
        teaches: The share of prompts that can teach.
        hopeless, solved: The shares of prompts below and above the limits of `TEACHES`.
        gains: The gains for `VISITS`; empty if the record cannot tell, having one rollout of most prompts, or if hardly
            any prompt can teach.
        several: Whether most prompts have two or more rollouts, without which a record cannot show how prompts differ.
        labels: The effect of labels, or of clusters of the texts if there are no labels; None without either.
        label_names: The different labels.
        has_texts: Whether the texts of prompts are recorded.
        clustered: Whether `labels` are clusters.
        visits: Mean number of groups of a prompt.
        seen_once: The share of prompts with a single group.
        windows: The share of prompts that can teach over training.
        left_out: A sentence on each part of the record that could not be read.
    """

    path: Path
    kind: SourceKind
    graded: bool
    prompts: int
    groups: int
    rollouts: int
    steps: tuple[int, int]
    group: Group
    group_size: float
    success: float
    wrong: float
    right: float
    alike: float
    pool: SuccessDistribution
    teaches: Estimate
    hopeless: float
    solved: float
    gains: tuple[Gain, ...]
    several: bool
    labels: LabelEffect | None
    label_names: tuple[str, ...]
    has_texts: bool
    clustered: bool
    visits: float
    seen_once: float
    windows: tuple[Window, ...]
    left_out: tuple[str, ...]

    @property
    def is_training(self) -> bool:
        """Whether the record has several steps, so that its visits are those of a run."""
        return self.steps[0] < self.steps[1]

    @property
    def has_no_signal(self) -> bool:
        """Whether hardly any prompt can teach."""
        return _hardly_any(self.teaches)

    def gain(self, visits: int | None) -> Gain | None:
        """Return the gain after some visits, or with known probabilities; None if the record cannot tell."""
        return next((gain for gain in self.gains if gain.visits == visits), None)


def _hardly_any(teaches: Estimate) -> bool:
    return teaches.high < _HARDLY_ANY or (teaches.value < _NONE and teaches.high < _FEW)


def make_forecast(source: OutcomeSource, rollouts: int | None = None) -> Forecast:
    """Return the forecast for a record.

    Args:
        source: The record.
        rollouts: Rollouts of a prompt in training; None for those of the record, if it is one of training and its
            groups have two or more, or 8.

    Raises:
        InvalidInputError: If `rollouts` is below 2 or above 4096.
    """
    if rollouts is not None and rollouts < 2:
        raise InvalidInputError(f"a prompt group needs at least 2 rollouts; got {rollouts}.")
    if rollouts is not None and rollouts > _MOST_ROLLOUTS:
        raise InvalidInputError(f"a prompt group has at most {_MOST_ROLLOUTS} rollouts here; got {rollouts}.")
    found = source.outcomes
    latest = recent(found)
    successes, trials = latest.totals()
    steps = int(found.step.min()), int(found.step.max())
    size = float(found.trials.mean())
    is_usual = steps[0] == steps[1] or round(size) < 2  # counts of single rollouts cannot be moved
    own = _USUAL_ROLLOUTS if is_usual else min(round(size), _MOST_ROLLOUTS)
    group = Group(own if rollouts is None else rollouts)
    pool = estimate_pool(found)
    wrong, right, alike = without_signal(found)
    low, high = TEACHES
    teaches = pool.share(low, high)
    several = bool(np.median(trials) > 1)
    can_tell = several and not _hardly_any(teaches)
    labels = label_effect(latest.labels, successes, trials)
    clustered = labels is None and bool(latest.texts) and bool(clusters := cluster_texts(latest.texts))
    if clustered:
        labels = label_effect(clusters, successes, trials)
    return Forecast(
        path=source.path,
        kind=source.kind,
        graded=source.graded,
        prompts=len(found.keys),
        groups=len(found.prompt),
        rollouts=int(found.trials.sum()),
        steps=steps,
        group=group,
        group_size=size,
        success=float((successes / trials).mean()),
        wrong=wrong,
        right=right,
        alike=alike,
        pool=pool,
        teaches=teaches,
        hopeless=float(pool.weight[low >= GRID].sum()),
        solved=float(pool.weight[high <= GRID].sum()),
        gains=estimate_gains(pool, group, VISITS) if can_tell else (),
        several=several,
        labels=labels,
        label_names=tuple(sorted({label for label in latest.labels if label})),
        has_texts=any(latest.texts),
        clustered=clustered,
        visits=len(found.prompt) / len(found.keys),
        seen_once=float(np.mean(found.visits == 1)),
        windows=tuple(teaching_windows(found, _WINDOWS)),
        left_out=source.left_out,
    )
