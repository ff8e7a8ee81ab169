"""Writes and reads the records of a run: one JSON object per line of `vip_records.jsonl`, in the run folder.

A run appends a `RunHeader` at every start, so that a resume adds one more header, a `StepRecord` after every
training step and a `ValidationRecord` after every validation. Progress lines and reports are made from these
records alone. Importing this module loads nothing heavier than NumPy.
"""

import itertools
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path

from verl_vip.durable_files import append_line, replace_file, sync_folder
from verl_vip.errors import InvalidInputError
from verl_vip.records.run_records import PromptRows, RunRecords, Start
from verl_vip.records.schema import Record, RunHeader, StepRecord, ValidationRecord
from verl_vip.regular_files import read_regular

__all__ = [
    "RECORDS_FILE",
    "PromptRows",
    "Record",
    "RecordWriter",
    "RunHeader",
    "RunRecords",
    "Start",
    "StepRecord",
    "ValidationRecord",
    "read_run",
    "records_path",
]

RECORDS_FILE = "vip_records.jsonl"

_logger = logging.getLogger(__name__)

_KINDS: Mapping[str, type[RunHeader] | type[StepRecord] | type[ValidationRecord]] = {
    record.kind: record for record in (RunHeader, StepRecord, ValidationRecord)
}


class RecordWriter:
    """Appends records to a run's file, so that a killed process loses at most the record being written.

    The writer has no open file and no state, so that it can be pickled. Every start of a run creates its own, and a
    run has one writer at a time.

    Args:
        path: The run folder, or the `.jsonl` file itself. Folders are created with the first record.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = records_path(path)

    def append(self, record: Record) -> None:
        """Write one record.

        The record then survives the end of this process, and after the next `sync` a power failure. Waiting for the
        disk in every step would cost more than all other overhead. An incomplete line of an earlier process is cut off
        first.

        Args:
            record: The record to write.

        Raises:
            InvalidInputError: If the record has a value that JSON cannot express, such as NaN.
            OSError: If the file cannot be written.
        """
        line = _encode(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if cut := append_line(self.path, line):
            _logger.warning("%s: cut off an incomplete last line (%d bytes).", self.path, cut)

    def sync(self) -> None:
        """Wait until all records written so far are on disk; return at once if there is no file.

        Raises:
            OSError: If the disk fails.
        """
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
        sync_folder(self.path.parent)

    def set_aside(self) -> Path | None:
        """Rename the records of a run that is not continued to `vip_records.1.jsonl` and so on, durably.

        A file with headers only stays, because a start without any step counts as a part of the next one.

        Returns:
            The renamed file; None if there was nothing to keep.

        Raises:
            OSError: If the file cannot be renamed.
        """
        if not self.path.exists() or self._holds_headers_alone():
            return None
        beside = self._name_beside()
        self.path.rename(beside)
        sync_folder(self.path.parent)
        return beside

    def rewind(self, step: int) -> Path | None:
        """Remove the step and validation records after `step`; keep all headers.

        A run that resumes from the checkpoint of `step` calls this before it writes its new header, because it will
        repeat the steps after the checkpoint. The removed records are kept in another file with the headers, named as
        by `set_aside`. The record file is replaced atomically: after a crash it is the old one or the new one.
        Without a file nothing is done.

        Args:
            step: The last step to keep.

        Returns:
            The file with the removed records; None if there are none.

        Raises:
            InvalidInputError: If the file is not a record file.
            OSError: If the file cannot be replaced.
        """
        if not self.path.exists():
            return None
        kept, out, later = [], [], 0
        for line, record in _read_lines(self.path):
            is_later = not isinstance(record, RunHeader) and record.step > step
            later += is_later
            if is_later or isinstance(record, RunHeader):
                out.append(line + b"\n")
            if not is_later:
                kept.append(line + b"\n")
        if not later:
            return None
        beside = self._name_beside()
        replace_file(beside, b"".join(out))
        replace_file(self.path, b"".join(kept))
        return beside

    def _holds_headers_alone(self) -> bool:
        try:
            return all(isinstance(record, RunHeader) for _, record in _read_lines(self.path))
        except InvalidInputError:  # a damaged file is renamed as well
            return False

    def _name_beside(self) -> Path:
        names = (self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}") for number in itertools.count(1))
        return next(path for path in names if not os.path.lexists(path))


def records_path(path: Path | str) -> Path:
    """Return the record file of a run folder; a path that ends in `.jsonl` is returned as it is."""
    path = Path(path)
    return path if path.suffix == ".jsonl" else path / RECORDS_FILE


def read_run(path: Path | str) -> RunRecords:
    """Read all records of a run. An incomplete last line, left by a killed process, is skipped.

    Validation records of one step and one start are batches of one pass, and are pooled. Those of a later start replace
    them, because a resumed run may validate its checkpoint again.

    Args:
        path: The run folder, or the `.jsonl` file itself.

    Returns:
        The records, by start.

    Raises:
        InvalidInputError: If the file does not exist, a line is not a record, the first record is not a header, or the
            steps do not ascend. The message names the file and the line.
        StateError: If the file is not a regular file or cannot be read.
    """
    file = records_path(path)
    if not (file.exists() or file.is_symlink()):
        raise InvalidInputError(f"{file} does not exist; give the folder of a run that has taken a step.")
    starts: list[tuple[RunHeader, list[StepRecord | ValidationRecord]]] = []
    last_step = 0
    for number, (_, record) in enumerate(_read_lines(file), start=1):
        if isinstance(record, RunHeader):
            starts.append((record, []))
            continue
        if not starts:
            raise InvalidInputError(f'{file}, line {number}: a record file starts with a record of kind "run".')
        if isinstance(record, StepRecord):
            if record.step <= last_step:
                raise InvalidInputError(
                    f"{file}, line {number}: step {record.step} follows step {last_step}; a resumed run "
                    "must rewind its records to the checkpoint's step first."
                )
            last_step = record.step
        starts[-1][1].append(record)
    if not starts:
        raise InvalidInputError(f"{file} holds no complete record; the run stopped before its first one.")
    return RunRecords(file, _one_validation_a_step(starts))


def _one_validation_a_step(
    starts: Sequence[tuple[RunHeader, Sequence[StepRecord | ValidationRecord]]],
) -> tuple[Start, ...]:
    """Pool the batches of each validation pass, and keep only the last start's pass for each step."""
    made: list[Start] = []
    validated: set[int] = set()
    for header, records in reversed(starts):
        batches: dict[int, list[ValidationRecord]] = defaultdict(list)
        for record in records:
            if isinstance(record, ValidationRecord):
                batches[record.step].append(record)
        kept: list[StepRecord | ValidationRecord] = []
        for record in records:
            if isinstance(record, StepRecord):
                kept.append(record)
            elif record is batches[record.step][-1] and record.step not in validated:
                kept.append(_pooled(batches[record.step]))
        validated.update(batches)
        made.append(Start(header, tuple(kept)))
    return tuple(reversed(made))


def _pooled(batches: Sequence[ValidationRecord]) -> ValidationRecord:
    correct: dict[str, float] = defaultdict(float)
    count: Counter[str] = Counter()
    for batch in batches:
        count.update(batch.count)
        for label, value in batch.correct.items():
            correct[label] += value
    return replace(batches[-1], correct=dict(correct), count=dict(count))


def _read_lines(path: Path) -> Iterator[tuple[bytes, Record]]:
    *lines, torn = read_regular(path).split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield line, _decode(line)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}, line {number}: {error}") from error
    if torn:
        _logger.warning("%s: the last line is incomplete and is ignored (%d bytes).", path, len(torn))


def _decode(line: bytes) -> Record:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("not a JSON object; is this file a record file of verl-vip?") from error
    record = _KINDS.get(str(data.pop("kind", None))) if isinstance(data, dict) else None
    if record is None:
        raise InvalidInputError(f'not a record; a record is a JSON object whose "kind" is one of {list(_KINDS)}.')
    known = {field.name for field in fields(record)}
    needed = {field.name for field in fields(record) if field.default is MISSING}
    if difference := (needed - data.keys()) | (data.keys() - known):
        raise InvalidInputError(
            f"a record of kind {record.kind!r} has missing or unknown fields {sorted(difference)}; "
            "read it with the version of verl-vip that wrote it."
        )
    return record(**data)


def _encode(record: Record) -> bytes:
    data = {"kind": record.kind, **{field.name: getattr(record, field.name) for field in fields(record)}}
    try:
        text = json.dumps(data, allow_nan=False, default=str)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"a record of kind {record.kind!r} cannot be written as JSON ({error}); leave that value out."
        ) from error
    return text.encode() + b"\n"
