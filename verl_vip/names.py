"""Names of folders, files and jobs, and command-line words of the form NAME=PATH."""

import os
import re
import reprlib
from collections.abc import Collection

from verl_vip.errors import InvalidInputError

#: Longest name that a user may choose, in characters.
LONGEST_NAME = 100
#: Longest name after this package has added a suffix, such as `-evaluate-20` or `-step20`. File names of pictures and
#: job logs that are derived from it still have fewer than the 255 bytes that file systems allow.
LONGEST_DERIVED_NAME = 150

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]+")


def require_name(name: str, kind: str, reserved: Collection[str] = (), longest: int = LONGEST_NAME) -> None:
    """Refuse a name that is invalid for a folder, job or file on some system, or that leads out of its folder.

    Args:
        name: The name.
        kind: The named thing with its article, for the message: "a run".
        reserved: Names that are used for other things in the same folder.
        longest: The most characters that the name may have.

    Raises:
        InvalidInputError: If the name has characters other than ASCII letters, digits, dots, dashes and underscores,
            does not begin with a letter or digit, is too long, or is reserved.
    """
    if not _NAME.fullmatch(name) or len(name) > longest:
        raise InvalidInputError(
            f"{reprlib.repr(name)} cannot name {kind}; use letters, digits, dots, dashes and underscores, "
            f"at most {longest}, with a letter or digit first."
        )
    if name.casefold() in reserved:
        raise InvalidInputError(
            f"{name!r} cannot name {kind}, because results use this name for something else; choose another name."
        )


def name_from(text: str, kind: str) -> str:
    """Return a valid name derived from a file or folder name; each sequence of other characters becomes a dash.

    Args:
        text: The name of the file or folder.
        kind: The named thing with its article, for the message.

    Raises:
        InvalidInputError: If the result is empty or too long.
    """
    name = _OTHER_CHARACTERS.sub("-", text).lstrip("-._").rstrip("-.")
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidInputError(f"{reprlib.repr(text)} gives {kind} no valid name; put a name in front: NAME=PATH.")
    return name


def split_named(word: str) -> tuple[str | None, str]:
    """Split a word of the form `[NAME=]PLACE` at its first `=`.

    A word that is an existing path is a place without a name. So is a word with a slash before its `=`, unless the
    path after the `=` exists.

    Args:
        word: A word of a command line.

    Returns:
        The name, or None without one, and the place.
    """
    name, separator, place = word.partition("=")
    if not separator or os.path.exists(word) or (os.sep in name and not os.path.exists(place)):
        return None, word
    return name, place
