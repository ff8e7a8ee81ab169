"""Names that become folders, files and jobs, and words of the form NAME=PATH."""

import os
import re
import reprlib
from collections.abc import Collection

from verl_vip.errors import InvalidInputError

#: What a person may choose.
LONGEST_NAME = 100
#: With what this package adds to it, such as `-evaluate-20` or `-step20`. With what the file of a picture or the log
#: of a job adds in turn, it is still below the 255 bytes that file systems allow.
LONGEST_DERIVED_NAME = 150

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]+")


def require_name(name: str, kind: str, reserved: Collection[str] = (), longest: int = LONGEST_NAME) -> None:
    """Refuse what cannot name a folder, a job or a file on every system, or would lead out of its folder.

    Args:
        name: The name.
        kind: What it is to name, with its article: "a run".
        reserved: Names of other things in the same folder.
        longest: Characters that it may have.

    Raises:
        InvalidInputError: If it has other characters than ASCII letters, digits, dots, dashes and underscores, does
            not begin with a letter or digit, is too long, or is reserved.
    """
    if not _NAME.fullmatch(name) or len(name) > longest:
        raise InvalidInputError(
            f"{reprlib.repr(name)} cannot name {kind}; use letters, digits, dots, dashes and underscores, "
            f"at most {longest}, with a letter or digit first."
        )
    if name.casefold() in reserved:
        raise InvalidInputError(f"{name!r} cannot name {kind}: results keep something else there; choose another name.")


def name_from(text: str, kind: str) -> str:
    """Return the name that a file or folder gives to what it holds: each run of other characters becomes a dash.

    Args:
        text: The file's or folder's own name.
        kind: What is to be named, with its article.

    Raises:
        InvalidInputError: If nothing is left, or too much.
    """
    name = _OTHER_CHARACTERS.sub("-", text).lstrip("-._").rstrip("-.")
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidInputError(f"{reprlib.repr(text)} gives {kind} no usable name; put one before it: NAME=PATH.")
    return name


def split_named(word: str) -> tuple[str | None, str]:
    """Read `[NAME=]PLACE`, split at the first `=`.

    A word that is an existing path is all place. So is one that has a slash before its `=`, unless what follows exists.

    Args:
        word: Of a command line.

    Returns:
        The name, None where there is none, and the place.
    """
    name, separator, place = word.partition("=")
    if not separator or os.path.exists(word) or (os.sep in name and not os.path.exists(place)):
        return None, word
    return name, place
