r"""Makes untrusted text safe to show on a page or the console, and to use in a file name.

Labels, names and settings come from data, file names and the command line. They may contain control characters, lone
surrogates that cannot be written to a file, marks that change the direction of writing, or hundreds of characters.
`verl_vip.reporting.labels` does the rest for pictures.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

_STEM = 80
#: Invisible characters that some scripts and emoji need.
_JOINERS = "\u200c\u200d"


def readable(text: str) -> str:
    r"""Return text in which a code such as `\u202e` replaces each character that cannot be shown or is misleading.

    These are control characters other than white space, lone surrogates, marks that change the direction of writing,
    other invisible characters, and code points that are not characters.
    """
    return "".join(character if _is_shown(character) else code(character) for character in text)


def code(character: str) -> str:
    r"""Return the code that replaces a character that is not shown, such as `\x07` or `\u202e`."""
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 prompt`, `1,200 prompts`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def few(sentences: Sequence[str], most: int = 3, more: str = "") -> str:
    """Return the first sentences on one line, and how many there are besides.

    Args:
        sentences: Complete sentences.
        most: How many to show.
        more: What to add to the number of the others.
    """
    rest = len(sentences) - most
    return " ".join([*sentences[:most], *([f"And {rest:,} more{more}."] if rest > 0 else [])])


def file_stem(name: str) -> str:
    """Return a file name for any text, without a suffix. A text that is a valid file name is returned unchanged.

    In other texts the invalid characters are replaced and a part of the text's SHA-256 is added, so that different
    texts have different names.
    """
    plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)[:_STEM].strip("._")
    if plain and plain == name:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain or 'picture'}-{digest[:8]}"


def _is_shown(character: str) -> bool:
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Zl", "Zp"):
        return character in "\t\n\r"
    if category == "Cf":
        return character in _JOINERS
    number = ord(character)
    return number & 0xFFFE != 0xFFFE and not 0xFDD0 <= number <= 0xFDEF
