"""What each prompt of a pool earned at each of its visits, wherever it was recorded.

`verl_vip.records.outcome_sources` reads it. Only counts are kept, never responses, so that memory grows with the number
of prompt groups.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verl_vip.errors import InvalidInputError
from verl_vip.text import few

#: Relative size below which two rewards are the same. verl sums rewards in single precision.
_ROUNDING = 1e-6
#: More different rewards than this are not kept apart: a scorer with three already grades.
_FEW = 3

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class SourceKind(Enum):
    """The kind of record that outcomes were read from; the value is its name in messages."""

    DUMPS = "verl's rollout or validation dumps"
    RUN = "the records of a run"
    EVALUATION = "an evaluation"
    COUNTS = "a table of counts"


class KeyKind(Enum):
    """What the keys of prompts are.

    `PROMPT_ID` is `verl_vip.prediction.identity.prompt_id` of the prompt, with the run's `vip.identity_fields` if it
    had any. `SHORT_ID` has the first 16 digits of that of the prompt alone. `TEXT` is `prompt_id` of the text that verl
    dumps, which the tokenizer decodes from the prompt's tokens without special tokens, chat template included. `ROW` is
    the number of a row, from 1.
    """

    PROMPT_ID = "prompt id"
    SHORT_ID = "short prompt id"
    TEXT = "text"
    ROW = "row"


@dataclass(frozen=True)
class PromptOutcomes:
    """The prompt groups of a record: `P` prompts, and `N` groups of rollouts of one prompt in one step.

    Attributes:
        keys: `P` different keys of prompts.
        labels: `P` data sources; empty if unknown.
        prompt: An `N` array, the row of each group in `keys`.
        step: An `N` array, the training step of each group, ascending for each prompt; 0 if it is unknown.
        successes: An `N` array, the sums of the shares of success, each share in [0, 1].
        trials: An `N` array, the numbers of rollouts, at least 1.
        varied: An `N` array, whether the rewards of a group differ.
        texts: `P` texts of prompts; empty if they were not asked for or are not recorded.
    """

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    prompt: IntArray
    step: IntArray
    successes: FloatArray
    trials: IntArray
    varied: NDArray[np.bool_]
    texts: tuple[str, ...] = ()

    @cached_property
    def by_key(self) -> Mapping[str, int]:
        """The row of each key in `keys`."""
        return {key: row for row, key in enumerate(self.keys)}

    @cached_property
    def visits(self) -> IntArray:
        """A `P` array, the number of groups of each prompt."""
        return np.bincount(self.prompt, minlength=len(self.keys))

    def totals(self) -> tuple[FloatArray, IntArray]:
        """Return the successes and the rollouts of each prompt over all its groups, two `P` arrays."""
        size = len(self.keys)
        successes = np.bincount(self.prompt, self.successes, size)
        trials = np.bincount(self.prompt, self.trials, size).astype(np.int64)
        return np.minimum(successes, trials), trials

    def select(self, groups: NDArray[np.bool_]) -> "PromptOutcomes":
        """Return some of the groups, and the prompts that occur in them, in their order.

        Args:
            groups: An `N` array, whether to keep each group.
        """
        rows, prompt = np.unique(self.prompt[groups], return_inverse=True)
        return PromptOutcomes(
            tuple(self.keys[row] for row in rows),
            tuple(self.labels[row] for row in rows),
            prompt.astype(np.int64),
            self.step[groups],
            self.successes[groups],
            self.trials[groups],
            self.varied[groups],
            tuple(self.texts[row] for row in rows) if self.texts else (),
        )


@dataclass(frozen=True)
class OutcomeSource:
    """One record of outcomes.

    Attributes:
        path: The folder or file.
        kind: Its kind.
        key_kind: The kind of its keys.
        outcomes: The outcomes.
        rewards: The reward of a failure and that of a success, by label; empty if successes were recorded themselves.
        graded: Whether some reward lies between these two, so that a group's successes need not be a whole number.
        left_out: A sentence on each part of the record that could not be read.
    """

    path: Path
    kind: SourceKind
    key_kind: KeyKind
    outcomes: PromptOutcomes
    rewards: Mapping[str, tuple[float, float]]
    graded: bool
    left_out: tuple[str, ...]


class SeenRewards:
    """The rewards of one scorer, and the range that follows from them."""

    def __init__(self) -> None:
        self._values: set[float] = set()
        self.low, self.high = np.inf, -np.inf

    def see(self, reward: float) -> None:
        """Note a finite reward."""
        if len(self._values) < _FEW:
            self._values.add(float(f"{reward:.6g}"))
        self.low, self.high = min(self.low, reward), max(self.high, reward)

    @property
    def is_graded(self) -> bool:
        """Whether there are more than two different rewards."""
        return len(self._values) >= _FEW

    def range(self) -> tuple[float, float]:
        """Return the reward of a failure and that of a success.

        Of two different rewards these are the lower and the higher one. More rewards are shares of [0, 1], widened to
        hold them. A reward that is always the same is a success if it is positive.
        """
        if self.is_graded:
            return min(self.low, 0.0), max(self.high, 1.0)
        if len(self._values) == 2:
            return self.low, self.high
        return (0.0, self.high) if self.high > 0 else (self.low, self.low + 1)


class OutcomeBuilder:
    """Collects prompt groups, and turns sums of rewards into sums of shares of success at the end.

    Args:
        key_kind: The kind of the keys.
        reward_range: The rewards of a failure and of a success; None to find them out for each label.
    """

    def __init__(self, key_kind: KeyKind, reward_range: tuple[float, float] | None = None) -> None:
        self.key_kind = key_kind
        self._given = reward_range
        self._rows: dict[str, int] = {}
        self._labels: list[str] = []
        self._texts: dict[int, str] = {}
        self._prompt, self._step, self._trials = array("q"), array("q"), array("q")
        self._total, self._varied = array("d"), array("b")
        self._seen: dict[str, SeenRewards] = {}

    def see(self, label: str, reward: float) -> None:
        """Note a finite reward of a label; without any, the sums of `add` are those of shares of success already."""
        self._seen.setdefault(label, SeenRewards()).see(reward)

    def add(
        self, key: str, step: int, total: float, trials: int, varied: bool, label: str = "", text: str | None = None
    ) -> None:
        """Add a group of at least one rollout whose rewards sum to `total`."""
        row = self._rows.setdefault(key, len(self._rows))
        if row == len(self._labels):
            self._labels.append(label)
            if text is not None:
                self._texts[row] = text
        self._prompt.append(row)
        self._step.append(step)
        self._total.append(total)
        self._trials.append(trials)
        self._varied.append(varied)

    def __len__(self) -> int:
        return len(self._prompt)

    def source(self, path: Path, kind: SourceKind, left_out: tuple[str, ...]) -> OutcomeSource:
        """Return what was collected.

        Raises:
            InvalidInputError: If there is no group, or a reward lies outside the given range.
        """
        if not len(self):
            raise InvalidInputError(f"{path} holds no rollout with a reward. {few(left_out)}".rstrip())
        ranges = self._ranges(path)
        prompt, trials = np.array(self._prompt, dtype=np.int64), np.array(self._trials, dtype=np.int64)
        successes = np.array(self._total, dtype=np.float64)
        if ranges:
            limits = np.array([ranges[label] for label in self._labels])[prompt]
            successes = (successes - trials * limits[:, 0]) / (limits[:, 1] - limits[:, 0])
        whole = np.round(successes)
        near = np.abs(successes - whole) <= _ROUNDING * np.maximum(trials, 1)
        successes = np.clip(np.where(near, whole, successes), 0, trials)
        order = np.lexsort((np.array(self._step, dtype=np.int64), prompt))
        outcomes = PromptOutcomes(
            tuple(self._rows),
            tuple(self._labels),
            prompt[order],
            np.array(self._step, dtype=np.int64)[order],
            successes[order],
            trials[order],
            np.array(self._varied, dtype=np.bool_)[order],
            tuple(self._texts.get(row, "") for row in range(len(self._rows))) if self._texts else (),
        )
        return OutcomeSource(path, kind, self.key_kind, outcomes, ranges, not bool(near.all()), left_out)

    def _ranges(self, path: Path) -> dict[str, tuple[float, float]]:
        if self._given is None:
            return {label: seen.range() for label, seen in self._seen.items()}
        low, high = self._given
        slack = _ROUNDING * (high - low)
        for label, seen in self._seen.items():
            if seen.low < low - slack or seen.high > high + slack:
                of_source = f" of source {label!r}" if label else ""
                raise InvalidInputError(
                    f"{path} has rewards from {seen.low:g} to {seen.high:g}, outside the reward range "
                    f"[{low:g}, {high:g}]{of_source}; give the rewards of a failed and of a solved rollout."
                )
        return dict.fromkeys(self._seen, (low, high))
