"""Folders that are built once. They are either complete or absent, and rebuilt when their settings change."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verl_vip.durable_files import replace_json
from verl_vip.execution.job import fingerprint

_FINGERPRINT_FILE = "fingerprint.json"


def build_once(output: Path, settings: Any, build: Callable[[Path], None]) -> bool:
    """Fill the folder `output`, unless it was already built with these settings.

    The files are written to a temporary folder beside it, which is renamed at the end. An interrupted build therefore
    never looks complete.

    Args:
        output: The folder.
        settings: All settings that the result depends on, in a form that JSON can represent.
        build: Writes the files into a given folder.

    Returns:
        Whether anything was built.

    Raises:
        FileExistsError: If `output` exists and was not made by this function; it is left as it is.
    """
    expected = fingerprint(settings)
    marker = output / _FINGERPRINT_FILE
    if marker.is_file() and json.loads(marker.read_text())["sha256"] == expected:
        return False
    if output.exists() and not marker.is_file() and any(output.iterdir()):
        raise FileExistsError(f"{output} holds other files; give an empty or new folder.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        build(fresh)
        replace_json(fresh / _FINGERPRINT_FILE, {"sha256": expected, "settings": settings})
        if output.exists():
            shutil.rmtree(output)
        os.replace(fresh, output)
    return True
