"""Reports new records of a running run as lines of text."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from verl_vip.records.progress import format_step
from verl_vip.records.records import RunRecords, StepRecord, read_run, records_path


@dataclass(frozen=True)
class _Shown:
    """How much of a run's records has been reported."""

    headers: int
    step: int
    validation: int


class RunNews:
    """Follows the records of a run that another process writes.

    Records that exist at construction are not reported.

    Args:
        folder: The run folder, which may have no records yet.

    Attributes:
        records: The records as last read; None if there are none yet.
    """

    def __init__(self, folder: Path) -> None:
        self._path = records_path(folder)
        self._size = -1
        self.records: RunRecords | None = None
        self._read()
        self._shown = _count(self.records)

    def poll(self) -> list[str]:
        """Return a line for each new record, in the order written."""
        if not self._read() or self.records is None:
            return []
        news = list(_news(self.records, self._shown))
        self._shown = _count(self.records)
        return news

    def _read(self) -> bool:
        """Read the file if its size has changed, because a long run's file is large; return whether it was read."""
        size = self._path.stat().st_size if self._path.exists() else 0
        if size in (self._size, 0):
            return False
        self._size = size
        self.records = read_run(self._path)
        return True


def _count(records: RunRecords | None) -> _Shown:
    if records is None:
        return _Shown(0, 0, -1)
    return _Shown(
        len(records.headers),
        records.steps[-1].step if records.steps else 0,
        records.validations[-1].step if records.validations else -1,
    )


def _news(records: RunRecords, shown: _Shown) -> Iterator[str]:
    if len(records.headers) > shown.headers:
        # The run resumed from its checkpoint, so the steps after it are repeated.
        header = records.headers[-1]
        shown = _Shown(len(records.headers), header.resumed_from or 0, header.resumed_from or -1)
        if header.resumed_from:
            yield f"resumed after step {header.resumed_from} with the predictor's state"
        yield f"training: {header.prompts_per_step} prompts and {header.budget} rollouts a step"
    for record in (record for start in records.starts for record in start.records):
        if isinstance(record, StepRecord):
            if record.step > shown.step:
                yield format_step(record)
        elif record.step > shown.validation:
            yield f"validation after step {record.step}: accuracy {record.accuracy:.3f}"
