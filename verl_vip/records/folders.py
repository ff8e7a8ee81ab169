"""Walks through the folders in which runs, evaluations and dumps may lie."""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path


def folders_below(
    path: Path, complain: Callable[[str], None], files: Collection[str] = ()
) -> Iterator[tuple[Path, frozenset[str]]]:
    """Yield a folder and each folder below it, in order, with the names of everything in it.

    Checkpoints and hidden folders are skipped. Links are followed unless they lead back to a parent folder, and each
    folder is visited once.

    Args:
        path: The folder to begin with.
        complain: Called with a sentence on each folder that cannot be read.
        files: Names of files; a folder with such a name is not entered.
    """

    def unreadable(error: OSError) -> None:
        complain(f"{error.filename} cannot be read: {error.strerror}.")

    seen: set[Path] = set()
    for name, inside, names in os.walk(path, followlinks=True, onerror=unreadable):
        folder = Path(name)
        real = folder.resolve()
        if real in seen:
            inside.clear()
            continue
        seen.add(real)
        yield folder, frozenset(names).union(inside)
        inside[:] = sorted(
            child
            for child in inside
            if not child.startswith((".", "global_step_"))
            and child not in files
            and not real.is_relative_to((folder / child).resolve())
        )
