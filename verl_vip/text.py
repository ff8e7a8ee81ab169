r"""Text from elsewhere, made fit to be shown on a page or on the console, or to be the name of a file.

Labels, names and settings come from data, file names and the command line, and may hold anything: control characters,
lone surrogates that no file can be written with, marks that turn the direction of writing, or hundreds of characters.
`verl_vip.reporting.labels` does the rest for pictures.
"""

import hashlib
import re
import unicodedata

_STEM = 80
#: The joiners that some scripts and emoji need, of the characters that are not seen themselves.
_JOINERS = "\u200c\u200d"


def readable(text: str) -> str:
    r"""Return text with a code such as `\u202e` in place of each character that cannot be shown or that misleads.

    These are control characters other than white space, lone surrogates, marks that turn the direction of writing and
    other invisible ones, and code points that are no characters.
    """
    return "".join(character if _is_shown(character) else code(character) for character in text)


def code(character: str) -> str:
    r"""Return what stands for a character that is not shown, such as `\x07` or `\u202e`."""
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def file_stem(name: str) -> str:
    """Return a file name for any text, without an ending: the text itself where it can be one.

    Other texts lose what makes them unfit and get a part of their SHA-256, so that different texts have different
    names.
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
