"""Finds and reads what a user has already recorded of a pool of prompts: which rollouts succeeded.

`read_outcomes` takes any mixture of

- folders of `trainer.rollout_data_dir` or `trainer.validation_data_dir` of stock verl, or single files of them,
- run folders or record files of verl-vip,
- evaluations of `verl-vip evaluate`, and
- Parquet files with counts, by their own path or in a folder.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from verl_vip.annotations import require_paths
from verl_vip.errors import InvalidInputError, VerlVipError
from verl_vip.evaluation.finished import EVALUATION_FILES, read_finished
from verl_vip.records.count_tables import CountColumns, read_counts
from verl_vip.records.folders import folders_below
from verl_vip.records.outcomes import KeyKind, OutcomeBuilder, OutcomeSource, SourceKind
from verl_vip.records.records import RECORDS_FILE, RunRecords, read_run
from verl_vip.records.rollout_dumps import dump_steps, read_dumps
from verl_vip.text import few

__all__ = [
    "CountColumns",
    "FoundOutcomes",
    "KeyKind",
    "OutcomeSource",
    "ReadSettings",
    "SourceKind",
    "outcomes_of",
    "read_outcomes",
]


#: Names of unknown files in one sentence.
_NAMED = 3


@dataclass(frozen=True)
class ReadSettings:
    """How to read outcomes.

    Attributes:
        columns: The columns of Parquet files; None to look for usual names.
        label_field: The data source in dumps and Parquet files, by dotted name.
        reward_range: The rewards of a failure and of a success in dumps and lists of rewards; None to find them out.
        with_texts: Whether to keep the texts of prompts, where they are recorded.
    """

    columns: CountColumns | None = None
    label_field: str = "data_source"
    reward_range: tuple[float, float] | None = None
    with_texts: bool = False

    def __post_init__(self) -> None:
        # A comparison with NaN is false.
        if self.reward_range is not None and not -math.inf < self.reward_range[0] < self.reward_range[1] < math.inf:
            raise InvalidInputError(
                "a reward range is the reward of a failed rollout and the higher one of a solved rollout; got "
                f"{list(self.reward_range)}."
            )


@dataclass(frozen=True)
class FoundOutcomes:
    """The records that were found.

    Attributes:
        sources: One for each folder of dumps, run, evaluation, and Parquet file, at least one.
        left_out: A sentence on each record that could not be read.
    """

    sources: tuple[OutcomeSource, ...]
    left_out: tuple[str, ...]


def read_outcomes(paths: Sequence[Path], settings: ReadSettings | None = None) -> FoundOutcomes:
    """Read every record of outcomes at or below the paths. What cannot be read is told, as long as something can.

    Args:
        paths: Files, folders with records, or folders that contain such folders.
        settings: How to read them.

    Raises:
        ConfigError: If a path is not valid, or a named column does not exist.
        InvalidInputError: If no path is given, one is given twice or does not exist, or nothing can be read.
    """
    _require_different(paths)
    settings = settings or ReadSettings()
    sources: list[OutcomeSource] = []
    left_out: list[str] = []
    for path in paths:
        places = list(_look_below(path, left_out))
        for place in places:
            try:
                source = _read(place, settings)
                sources.append(replace(source, left_out=(*source.left_out, *_without_effect(source, settings))))
            except VerlVipError as error:
                left_out.append(str(error))
            except OSError as error:
                left_out.append(f"{error.filename or place.path} cannot be read: {error.strerror}.")
        if not places:
            left_out.append(_nothing_at(path))
    if not sources:
        raise InvalidInputError(few(left_out))
    return FoundOutcomes(tuple(sources), tuple(left_out))


def _require_different(paths: Sequence[Path]) -> None:
    if not paths:
        raise InvalidInputError("no record was given; give a folder of rollout dumps, a run, or a Parquet file.")
    require_paths(**{f"path {number}": path for number, path in enumerate(paths, start=1)})
    if len({path.resolve() for path in paths}) < len(paths):
        raise InvalidInputError("a path was given twice; give each record once.")
    for path in paths:
        if not path.exists():
            raise InvalidInputError(f"{path} does not exist.")


@dataclass(frozen=True)
class _Place:
    path: Path
    kind: SourceKind
    names: tuple[str, ...] = ()


def _look_below(path: Path, left_out: list[str]) -> Iterator[_Place]:
    """Yield the records at or below a path; see `folders_below`."""
    if not path.is_dir():
        yield from _of_file(path)
        return
    for folder, names in folders_below(path, left_out.append, {RECORDS_FILE, *EVALUATION_FILES}):
        if RECORDS_FILE in names:
            yield _Place(folder, SourceKind.RUN)
        if names >= EVALUATION_FILES:
            yield _Place(folder, SourceKind.EVALUATION)
        steps = tuple(dump_steps(names).values())
        if steps:
            yield _Place(folder, SourceKind.DUMPS, steps)
        for name in sorted(names):
            if name.endswith(".parquet"):
                yield _Place(folder / name, SourceKind.COUNTS)
        if not names >= EVALUATION_FILES:
            left_out.extend(_unknown(folder, names.difference(steps, {RECORDS_FILE})))


def _unknown(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield a sentence on the files in a folder that are named like records and are none."""
    unknown = sorted(name for name in names if name.endswith(".jsonl"))
    if unknown:
        rest = len(unknown) - _NAMED
        more = f" and {rest:,} more" if rest > 0 else ""
        yield (
            f"{folder} has files that are neither dumps (STEP.jsonl) nor records ({RECORDS_FILE}): "
            f"{', '.join(unknown[:_NAMED])}{more}."
        )


def _of_file(path: Path) -> Iterator[_Place]:
    if path.suffix == ".parquet":
        yield _Place(path, SourceKind.COUNTS)
    elif dump_steps([path.name]):
        yield _Place(path.parent, SourceKind.DUMPS, (path.name,))
    elif path.suffix == ".jsonl":
        yield _Place(path, SourceKind.RUN)


def _nothing_at(path: Path) -> str:
    return (
        f"{path} holds no outcomes: neither verl's dumps (STEP.jsonl of trainer.rollout_data_dir), nor the records of "
        f"a run ({RECORDS_FILE}), nor a finished evaluation, and it is not a Parquet file with counts."
    )


def _read(place: _Place, settings: ReadSettings) -> OutcomeSource:
    label, limits, texts = settings.label_field, settings.reward_range, settings.with_texts
    match place.kind:
        case SourceKind.DUMPS:
            return read_dumps(place.path, place.names, label, limits, texts)
        case SourceKind.COUNTS:
            return read_counts(place.path, settings.columns, label, limits, texts)
        case SourceKind.RUN:
            return outcomes_of(read_run(place.path))
        case SourceKind.EVALUATION:
            return _read_evaluation(place.path)


def _without_effect(source: OutcomeSource, settings: ReadSettings) -> Iterator[str]:
    """Yield a sentence on each setting that does not apply to a record, so that none is ignored silently."""
    kind, columns, label = source.kind, settings.columns or CountColumns(), settings.label_field
    finished = kind in (SourceKind.RUN, SourceKind.EVALUATION)
    if kind is not SourceKind.COUNTS and columns != CountColumns():
        yield f"{source.path} is no Parquet file; the columns of successes and rollouts do not apply to it."
    if settings.reward_range is not None and finished:
        yield f"{source.path} holds successes already; the reward range does not apply to it."
    if label != ReadSettings.label_field and finished:
        yield f"{source.path} has its own labels; the field {label!r} does not apply to it."
    elif label != ReadSettings.label_field and not any(source.outcomes.labels):
        yield f"{source.path} has no labels in the field {label!r}."


def outcomes_of(run: RunRecords) -> OutcomeSource:
    """Return what the prompts of a run earned.

    Raises:
        InvalidInputError: If no rollout returned a reward.
    """
    builder = OutcomeBuilder(KeyKind.PROMPT_ID)
    for record in run.steps:
        pairs = zip(record.successes, record.observed, strict=True)
        varied = record.varied or [0 < won < count for won, count in pairs]
        columns = (record.ids, record.labels, record.successes, record.observed, varied)
        for key, label, won, count, differs in zip(*columns, strict=True):
            if count:
                builder.add(key, record.step, won, count, differs, label)
    return builder.source(run.path, SourceKind.RUN, ())


def _read_evaluation(path: Path) -> OutcomeSource:
    finished = read_finished(path)
    builder = OutcomeBuilder(KeyKind.SHORT_ID)
    for one in finished.problems:
        won = round(one.mean * one.n)
        builder.add(one.problem, finished.metrics.step or 0, won, one.n, 0 < won < one.n, one.source)
    return builder.source(path, SourceKind.EVALUATION, ())
