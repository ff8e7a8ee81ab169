"""Reading of JSON-lines files, with one object per line."""

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from verl_vip.errors import InvalidInputError


def read_json_lines(path: Path, appended: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line of a file, from 1, and its object; see `parse_json_lines`.

    Raises:
        InvalidInputError: If a line is not a JSON object. The message names the file and the line.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            yield from parse_json_lines(file, appended)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path} is not a JSON-lines file: {error}") from error


def parse_json_lines(lines: Iterable[bytes], appended: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line, from 1, and its object.

    A byte-order mark at the beginning and empty lines are skipped.

    Args:
        lines: Lines with their ends, as from a file opened in binary mode. There only a line feed ends a line, so that
            a JSON string may contain U+2028, U+0085 and the like.
        appended: Whether processes append to the file. If one is killed, the last line may lack its end; that line is
            then skipped.

    Raises:
        InvalidInputError: If a line is not a JSON object. The message names the line.
    """
    for number, line in enumerate(lines, start=1):
        if appended and not line.endswith(b"\n"):
            return
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        try:
            value = json.loads(text.decode())
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"line {number} is not valid JSON ({error}).") from error
        if not isinstance(value, dict):
            raise InvalidInputError(f"line {number} is not a JSON object.")
        yield number, value


def valid_text(text: str) -> str:
    """Return text that UTF-8 can encode: a lone surrogate, which JSON can express, becomes U+FFFD.

    Raises:
        TypeError: If the value is not a string.
    """
    try:
        str.encode(text)
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
