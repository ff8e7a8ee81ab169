"""Wording and rule of each family of the string tasks, and rules that nobody can know."""

import hashlib
from collections.abc import Callable
from string import ascii_lowercase

Rule = Callable[[str], str]


def _shifted(letters: str, by: int) -> str:
    return "".join(ascii_lowercase[(ascii_lowercase.index(letter) + by) % 26] for letter in letters)


#: Wording and rule of each family; `{size}` is the number of letters.
TUNING: dict[str, tuple[str, Rule]] = {
    "repeat": ("Repeat these {size} letters", lambda s: s),
    "ends": ("Write the first and last of these {size} letters", lambda s: s[0] + s[-1]),
    "rotate": ("Move the first of these {size} letters to the end", lambda s: s[1:] + s[0]),
    "every_second": ("Write every second one of these {size} letters", lambda s: s[1::2]),
    "sort": ("Sort these {size} letters by the alphabet", lambda s: "".join(sorted(s))),
    "without_last": ("Leave out the last of these {size} letters", lambda s: s[:-1]),
    "second": ("Which of these {size} letters is the second", lambda s: s[1]),
    "first_thrice": ("Write the first of these {size} letters three times", lambda s: s[0] * 3),
    "earliest": ("Which of these {size} letters comes earliest in the alphabet", min),
    "swap_ends": ("Swap the first and last of these {size} letters", lambda s: s[-1] + s[1:-1] + s[0]),
    "last_two": ("Keep only the last two of these {size} letters", lambda s: s[-2:]),
    "next_letter": ("Shift these {size} letters to the next in the alphabet", lambda s: _shifted(s, 1)),
}
REPORT: dict[str, tuple[str, Rule]] = {
    "backward": ("Spell these {size} letters backward", lambda s: s[::-1]),
    "double": ("Write each of these {size} letters twice", lambda s: "".join(c * 2 for c in s)),
    "last_to_front": ("Put the last of these {size} letters in front", lambda s: s[-1] + s[:-1]),
    "odd_places": ("Write the letters at odd places among these {size}", lambda s: s[::2]),
    "sort_down": ("Arrange these {size} letters from z to a", lambda s: "".join(sorted(s, reverse=True))),
    "without_first": ("Drop the first of these {size} letters", lambda s: s[1:]),
    "final": ("Name the final one of these {size} letters", lambda s: s[-1]),
    "last_thrice": ("Write the last of these {size} letters three times", lambda s: s[-1] * 3),
    "latest": ("Find the one of these {size} letters closest to z", max),
    "swap_first": ("Exchange the first two of these {size} letters", lambda s: s[1] + s[0] + s[2:]),
    "first_two": ("Keep only the first two of these {size} letters", lambda s: s[:2]),
    "previous_letter": ("Shift these {size} letters to the one before in the alphabet", lambda s: _shifted(s, -1)),
}


def _secret(salt: str) -> Rule:
    """Return a rule that cannot be learned: the answer is a hash of the letters, with the same length."""

    def letters_for(letters: str) -> str:
        digest = hashlib.sha256(f"{salt}/{letters}".encode()).digest()
        return "".join(ascii_lowercase[byte % 26] for byte in digest[: len(letters)])

    return letters_for


def is_hidden(letters: str, share: float) -> bool:
    """Whether a prompt about these letters is hidden; which ones are is a matter of a hash alone."""
    return int.from_bytes(hashlib.sha256(f"hidden/{letters}".encode()).digest()[:4]) < share * 2**32


def partly_hidden(rule: Rule, share: float) -> Rule:
    """Return a rule that answers hidden prompts with a hash of as many letters."""

    def answer(letters: str) -> str:
        right = rule(letters)
        return _secret("hidden")(letters * 2)[: len(right)] if is_hidden(letters, share) else right

    return answer


SECRETS_TUNING: dict[str, tuple[str, Rule]] = {
    "cipher": ("Encrypt these {size} letters with the cipher of the house", _secret("cipher")),
    "reply": ("Guess what the stranger replied to these {size} letters", _secret("reply")),
}
SECRETS_REPORT: dict[str, tuple[str, Rule]] = {
    "plate": ("Recall which number plate belongs to these {size} letters", _secret("plate")),
    "password": ("Find the password that was hidden behind these {size} letters", _secret("password")),
}
