"""Hydra overrides for arbitrary text, such as the path of a folder."""

import re
from collections.abc import Sequence

from verl_vip.errors import ConfigError

#: Text that Hydra's grammar accepts without quotes, unless it is one of the words below.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"true", "false", "null", "inf", "nan"})


def override(key: str, value: str | int | Sequence[str]) -> str:
    """Return a Hydra override that sets a key to exactly this value.

    Args:
        key: The dotted name of a setting, with `+` in front to add one.
        value: A text, a whole number, or a list of texts.

    Raises:
        ConfigError: If a text is `???`, is not valid Unicode, or contains `${`. verl resolves its config in place, so
            even a quoted `${` becomes an interpolation by the time verl uses the value.
    """
    if isinstance(value, int):
        return f"{key}={value}"
    if isinstance(value, str):
        return f"{key}={_quoted(key, value)}"
    return f"{key}=[{','.join(_quoted(key, item) for item in value)}]"


def _quoted(key: str, text: str) -> str:
    if "${" in text:
        raise ConfigError(
            f"{key} cannot be {text!r}: verl reads ${{ as the beginning of an interpolation, even in quotes; choose a "
            "name without it."
        )
    if text == "???":
        raise ConfigError(f"{key} cannot be '???', which stands for a missing value in Hydra; choose another name.")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError(f"{key} cannot be {text!r}, which is not valid text; choose another name.")
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    # Within quotes a backslash is literal, unless a quote follows, including the closing one.
    escaped = re.sub(r"(\\*)('|\Z)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), text)
    return f"'{escaped}'"
