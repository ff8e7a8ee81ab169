"""Finds the runs and evaluations to report on in the folders that a user names."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from verl_vip.annotations import require_paths
from verl_vip.errors import InvalidInputError, VerlVipError
from verl_vip.evaluation.finished import EVALUATION_FILES, FinishedEvaluation, read_finished
from verl_vip.evaluation.summary import Evaluations, arrange
from verl_vip.records.folders import folders_below
from verl_vip.records.records import RECORDS_FILE, RunRecords, read_run


@dataclass(frozen=True)
class Sources:
    """The runs and evaluations that were found.

    Attributes:
        runs: Runs, by the shortest ends of their paths that distinguish them.
        evaluations: Finished evaluations, by model and benchmark.
        left_out: A sentence on each run or evaluation that could not be read.
    """

    runs: dict[str, RunRecords]
    evaluations: Evaluations
    left_out: list[str]


def find_sources(paths: Sequence[Path]) -> Sources:
    """Read every run and every finished evaluation at or below the paths.

    A sweep is a folder with runs, or with links to runs. Items that cannot be read are listed in `left_out`, as long as
    anything can be read.

    Args:
        paths: Run folders, record files, folders of evaluations, or folders that contain such folders.

    Raises:
        ConfigError: If a path is not valid.
        InvalidInputError: If no path is given, one is given twice, or nothing can be read.
    """
    if not paths:
        raise InvalidInputError("there is no run to report on; give at least one run folder.")
    given = [_as_given(path) for path in paths]
    if len({path.resolve() for path in given}) < len(given):
        raise InvalidInputError("a run was given twice; give each run folder once.")
    runs: dict[Path, RunRecords] = {}
    evaluations: list[FinishedEvaluation] = []
    left_out: list[str] = []
    known: set[Path] = set()
    for path in given:
        places = list(_look_below(path, left_out.append)) if path.exists() else []
        for place, is_run in places:
            if place.resolve() in known:
                continue
            known.add(place.resolve())
            try:
                if is_run:
                    runs[place] = read_run(place)
                else:
                    evaluations.append(read_finished(place))
            except VerlVipError as error:
                left_out.append(str(error))
        if not places:
            left_out.append(
                f"{path} holds neither the records of a run ({RECORDS_FILE}) nor a finished evaluation."
                if path.exists()
                else f"{path} does not exist; give the folder of a run that has taken a step."
            )
    if not runs and not evaluations:
        raise InvalidInputError(" ".join(left_out))
    names = _short_names(list(runs))
    return Sources({names[folder]: run for folder, run in runs.items()}, arrange(evaluations), left_out)


def _as_given(path: Path) -> Path:
    """Return a folder's absolute path. Links are not resolved, because the user knows the run by the link's name."""
    require_paths(run=path)
    path = Path(os.path.abspath(path))
    return path.parent if path.name == RECORDS_FILE else path


def _look_below(path: Path, complain: Callable[[str], None]) -> Iterator[tuple[Path, bool]]:
    """Yield runs (True) and evaluations (False) in order; see `folders_below`."""
    if not path.is_dir():
        if path.suffix == ".jsonl":
            yield path, True
        return
    for folder, entries in folders_below(path, complain, {RECORDS_FILE, *EVALUATION_FILES}):
        # A folder or dangling link in place of a file must be reported too.
        is_run, is_evaluation = RECORDS_FILE in entries, entries >= EVALUATION_FILES
        if is_run:
            yield folder, True
        if is_evaluation:
            yield folder, False
        if folder == path and not (is_run or is_evaluation):
            _complain_of_dangling((folder / name for name in entries), complain)


def _complain_of_dangling(paths: Iterable[Path], complain: Callable[[str], None]) -> None:
    for path in sorted(paths):
        if path.is_symlink() and not path.exists():
            complain(f"{path} is a link to {os.readlink(path)}, which does not exist.")


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    depth = 1
    while len({folder.parts[-depth:] for folder in folders}) < len(folders):
        depth += 1
    return {folder: os.sep.join(folder.parts[-depth:]) for folder in folders}
