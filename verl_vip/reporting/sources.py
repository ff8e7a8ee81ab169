"""What there is to report on in the folders that a user names: runs, evaluations, or folders full of them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from verl_vip.errors import InvalidInputError, StateError, VerlVipError
from verl_vip.evaluation.folder import FORMAT, ResultFolder
from verl_vip.evaluation.summary import Evaluations, arrange
from verl_vip.reporting.records import RECORDS_FILE, RunRecords, read_run


@dataclass(frozen=True)
class Sources:
    """What was found.

    Attributes:
        runs: Runs, by the end of their paths, as short as tells them apart.
        evaluations: Finished evaluations by model, then by benchmark.
        left_out: A sentence on each thing that could not be read.
    """

    runs: dict[str, RunRecords]
    evaluations: Evaluations
    left_out: list[str]


def find_sources(paths: Sequence[Path]) -> Sources:
    """Read every run and every finished evaluation at or below the paths.

    A sweep is a folder with runs in it. What cannot be read is left out and said so, as long as anything else can.

    Args:
        paths: Run folders, record files, folders of evaluations, or folders that hold such folders.

    Raises:
        InvalidInputError: If no path is given, one is given twice, or nothing can be read.
    """
    if not paths:
        raise InvalidInputError("there is no run to report on; give at least one run folder.")
    resolved = [_without_default_name(Path(path).resolve()) for path in paths]
    if len(set(resolved)) < len(resolved):
        raise InvalidInputError("a run was given twice; give each run folder once.")
    runs: dict[Path, RunRecords] = {}
    evaluations: dict[Path, ResultFolder] = {}
    left_out = []
    for path in resolved:
        found = False
        for folder, kind in _look_below(path):
            found = True
            try:
                if kind == "run" and folder not in runs:
                    runs[folder] = read_run(folder)
                elif kind == "evaluation" and folder not in evaluations:
                    evaluations[folder] = _finished(folder)
            except VerlVipError as error:
                left_out.append(str(error))
        if not found:
            left_out.append(
                f"{path} holds neither the records of a run ({RECORDS_FILE}) nor a finished evaluation."
                if path.exists()
                else f"{path} does not exist; give the folder of a run that has taken a step."
            )
    if not runs and not evaluations:
        raise InvalidInputError(" ".join(left_out))
    names = _short_names(list(runs))
    named = {names[folder]: run for folder, run in runs.items()}
    return Sources(named, arrange(list(evaluations.values())), left_out)


def _finished(path: Path) -> ResultFolder:
    folder = ResultFolder(path)
    if not folder.is_finished:
        raise StateError(f"{path} has lost its grades or its table of problems; evaluating again makes them anew.")
    if (found := folder.metrics().get("format")) != FORMAT:
        raise StateError(f"{path / 'metrics.json'} has format {found}, and this version reads {FORMAT}.")
    folder.manifest()
    return folder


def _without_default_name(path: Path) -> Path:
    return path.parent if path.name == RECORDS_FILE else path


def _look_below(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield runs and evaluations in order; checkpoints and hidden folders hold neither."""
    if path.is_file() and path.suffix == ".jsonl":
        yield path, "run"
    for folder, inside, names in os.walk(path):
        inside[:] = sorted(name for name in inside if not name.startswith((".", "global_step_")))
        if RECORDS_FILE in names:
            yield Path(folder), "run"
        if "metrics.json" in names and "manifest.json" in names:
            yield Path(folder), "evaluation"


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    depth = 1
    while len({folder.parts[-depth:] for folder in folders}) < len(folders):
        depth += 1
    return {folder: os.sep.join(folder.parts[-depth:]) for folder in folders}
