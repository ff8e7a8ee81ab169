"""Artifacts on Prefect's page. If one cannot be written, the job goes on."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException
from prefect.logging import get_logger

_logger = get_logger("verl_vip")
_FAILURES = (httpx.HTTPError, PrefectException, OSError)


def slug(name: str) -> str:
    """Return the name in the characters that a key may have: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def show_progress(artifact: UUID | None, key: str, percent: float, text: str) -> UUID | None:
    """Update a progress bar, or create it, and return it."""
    try:
        if artifact is None:
            made: UUID = create_progress_artifact(percent, key=key, description=text)  # type: ignore[assignment]
            return made
        update_progress_artifact(artifact, progress=percent, description=text)
    except _FAILURES as error:
        _logger.warning("the progress cannot be shown: %s", error)
    return artifact


def show_markdown(key: str, markdown: str, text: str) -> None:
    """Show a page; a second call with the same key creates a new version of it."""
    try:
        create_markdown_artifact(markdown, key=key, description=text)
    except _FAILURES as error:
        _logger.warning("%s cannot be shown: %s", key, error)


def show_table(key: str, rows: Sequence[Mapping[str, Any]], text: str) -> None:
    """Show rows that have the same keys as a table."""
    try:
        create_table_artifact([dict(row) for row in rows], key=key, description=text)
    except _FAILURES as error:
        _logger.warning("%s cannot be shown: %s", key, error)


def show_picture(key: str, png: Path, text: str) -> None:
    """Show a picture. The artifact contains its bytes, so the page does not need access to the file.

    It is a markdown artifact: below an image artifact, the page prints the address, which would be all of the bytes.
    """
    data = base64.b64encode(png.read_bytes()).decode()
    show_markdown(key, f"![{text}](data:image/png;base64,{data})", text)
