"""The mark of a finished job: a file that says that a job with certain settings has succeeded, on any executor."""

import json
from pathlib import Path

from verl_vip.durable_files import replace_json

_FILE = "complete.json"


def is_complete(folder: Path, fingerprint: str) -> bool:
    """Return whether a job with these settings has succeeded in this folder."""
    try:
        mark = json.loads((folder / _FILE).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(mark, dict) and mark.get("fingerprint") == fingerprint


def mark_complete(folder: Path, fingerprint: str) -> None:
    """Mark a job with these settings as finished.

    Raises:
        OSError: If the mark cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_json(folder / _FILE, {"fingerprint": fingerprint})
