"""Reads a Parquet file that says of each prompt how many of its rollouts succeeded."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.identity import fields_of, label_of, prompt_id, prompt_text
from verl_vip.records.outcomes import KeyKind, OutcomeBuilder, OutcomeSource, SourceKind
from verl_vip.text import counted

#: Columns that are recognised without being named: those of successes, of rollouts, and of rewards.
_SUCCESSES = ("successes", "num_correct", "correct")
_TRIALS = ("trials", "num_rollouts", "rollouts", "n")
_REWARDS = ("rewards", "scores", "outcomes")
#: Columns of the prompt's text.
_PROMPTS = ("prompt", "problem", "question")
#: Rows in memory at a time.
_BATCH = 1024
_LARGEST = 10**9


@dataclass(frozen=True)
class CountColumns:
    """The columns of a table of counts, by dotted name.

    Attributes:
        successes: Successes of each prompt: a number, a list of numbers to add up, or, without `trials`, a list of the
            rewards of its rollouts. None to look for a usual name.
        trials: Rollouts of each prompt: a column, or the number behind every count.
    """

    successes: str | None = None
    trials: str | int | None = None


@dataclass(frozen=True)
class _Columns:
    successes: str
    trials: str | int | None
    prompt: str | None
    label: str | None


def read_counts(
    path: Path,
    columns: CountColumns | None = None,
    label_field: str = "data_source",
    reward_range: tuple[float, float] | None = None,
    with_texts: bool = False,
) -> OutcomeSource:
    """Read a table of counts, some rows at a time; the counts of rows with the same prompt are added up.

    Args:
        path: The Parquet file.
        columns: Its columns; None to look for usual names.
        label_field: The column of the data source, by dotted name.
        reward_range: The rewards of a failure and of a success in lists of rewards; None to find them out.
        with_texts: Whether to keep the text of each prompt.

    Raises:
        ConfigError: If pyarrow is missing, or a named column does not exist.
        InvalidInputError: If the file is not Parquet, has no columns of counts, or a row has impossible ones.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError("pyarrow is missing; pip install 'verl-vip[evaluation]'.") from error
    try:
        with pq.ParquetFile(path) as file:
            found = _find_columns(path, file.schema_arrow.names, columns or CountColumns(), label_field)
            names = {_top(name) for name in vars(found).values() if isinstance(name, str)}
            batches = file.iter_batches(_BATCH, columns=sorted(names))
            rows = (row for batch in batches for row in batch.to_pylist())
            return _read_rows(path, rows, found, reward_range, with_texts)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as Parquet ({error}).") from error


@dataclass
class _Total:
    label: str
    text: str | None
    total: float = 0.0
    trials: int = 0
    rewards: set[float] = field(default_factory=set)


def _find_columns(path: Path, names: list[str], given: CountColumns, label_field: str) -> _Columns:
    for name in (given.successes, given.trials):
        if isinstance(name, str) and _top(name) not in names:
            raise ConfigError(f"{path} has no column {name!r}; its columns are {', '.join(names)}.")
    successes, trials = given.successes, given.trials
    if successes is None:
        # Without trials only a list of rewards can be meant.
        usual = (*_SUCCESSES, *_REWARDS)
        successes = next((name for name in usual if name in names), None)
        if trials is None and successes in _SUCCESSES:
            trials = next((name for name in _TRIALS if name in names), None)
    if successes is None:
        raise InvalidInputError(
            f"{path} has no column {', '.join(_SUCCESSES)} or {', '.join(_REWARDS)} (its columns are "
            f"{', '.join(names)}); name the one with each prompt's successes, and the one with its rollouts."
        )
    label = label_field if _top(label_field) in names else None
    return _Columns(successes, trials, next((name for name in _PROMPTS if name in names), None), label)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _read_rows(
    path: Path,
    rows: Iterator[Mapping[str, Any]],
    columns: _Columns,
    reward_range: tuple[float, float] | None,
    with_texts: bool,
) -> OutcomeSource:
    builder = OutcomeBuilder(KeyKind.ROW if columns.prompt is None else KeyKind.PROMPT_ID, reward_range)
    totals: dict[str, _Total] = {}
    empty = 0
    for number, row in enumerate(rows, start=1):
        try:
            total, trials, rewards = _counts(row, columns)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}, row {number}: {error}") from error
        if not trials:
            empty += 1
            continue
        label = "" if columns.label is None else label_of(row, columns.label)
        for reward in rewards:
            builder.see(label, reward)
        prompt = None if columns.prompt is None else row[columns.prompt]
        key = str(number) if columns.prompt is None else prompt_id(prompt)
        found = totals.setdefault(key, _Total(label, prompt_text(prompt) if with_texts else None))
        found.total += total
        found.trials += trials
        found.rewards.update(rewards)
    _refuse_rates(path, columns, totals)
    for key, one in totals.items():
        varied = len(one.rewards) > 1 if one.rewards else 0 < one.total < one.trials
        builder.add(key, 0, one.total, one.trials, varied, one.label, one.text)
    left_out = (f"{path} has {counted(empty, 'prompt')} without a count; left out.",) if empty else ()
    return builder.source(path, SourceKind.COUNTS, left_out)


def _refuse_rates(path: Path, columns: _Columns, totals: Mapping[str, _Total]) -> None:
    """Refuse fractions where counts are meant: a rate of 0.5 would be read as half a success in all the rollouts."""
    counts = [one for one in totals.values() if not one.rewards]
    fractions = any(not one.total.is_integer() for one in counts)
    if fractions and all(one.total <= 1 for one in counts) and any(one.trials > 1 for one in counts):
        raise InvalidInputError(
            f"{path}: all successes in {columns.successes} lie between 0 and 1, and some are fractions; are they "
            "rates? Multiply them by the number of rollouts, or give a list of each prompt's rewards."
        )


def _counts(row: Mapping[str, Any], columns: _Columns) -> tuple[float, int, list[float]]:
    """Return a row's sum of successes or rewards, its rollouts, and, if it lists them, its rewards."""
    value = fields_of(row, [columns.successes])[columns.successes]
    if value is None:
        return 0.0, 0, []
    listed = isinstance(value, list)
    numbers = [_number(columns.successes, one) for one in (value if listed else [value]) if one is not None]
    if columns.trials is None:
        if not listed:
            raise InvalidInputError(
                f"{columns.successes} is the single number {numbers[0]:g}; name the column with the rollouts behind "
                "it, or their number."
            )
        return sum(numbers), len(numbers), numbers
    trials = columns.trials if isinstance(columns.trials, int) else fields_of(row, [columns.trials])[columns.trials]
    if trials is None:
        return 0.0, 0, []
    each = _number(str(columns.trials), trials)
    if each != int(each) or each < 0:
        raise InvalidInputError(f"{columns.trials} must be a number of rollouts; got {each:g}.")
    if wrong := [one for one in numbers if not 0 <= one <= each]:
        raise InvalidInputError(f"{columns.successes} must lie between 0 and its {each:g} rollouts; got {wrong[0]:g}.")
    return sum(numbers), int(each) * len(numbers), []


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInputError(f"{name} must hold finite numbers; got {value!r}.")
    if abs(value) > _LARGEST:
        raise InvalidInputError(f"{name} must hold numbers up to {_LARGEST:,}; got {value!r}.")
    return float(value)
