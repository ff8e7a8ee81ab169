"""Families of rules on strings of distinct letters, for which reasoning-gym has no short question."""

from collections.abc import Callable
from random import Random
from string import ascii_lowercase

from verl_vip.recipes.demo.tasks import Family, Question, number_word


def _family(name: str, lengths: tuple[int, ...], wording: str, rule: Callable[[str], str]) -> Family:
    """Return the family of `rule` on random distinct letters; `{size}` in the wording is their number."""

    def draw(length: int, rng: Random) -> Question:
        letters = "".join(rng.sample(ascii_lowercase, length))
        prompt = f'{wording.format(size=number_word(length))}: "{letters}"'
        return Question(prompt, rule(letters), letters)

    return Family(name, lengths, draw)


def _next_letters(letters: str) -> str:
    return "".join(ascii_lowercase[(ascii_lowercase.index(letter) + 1) % 26] for letter in letters)


LETTER_FAMILIES = (
    _family("repeat", (3, 5, 7), "Repeat these {size} letters", lambda s: s),
    _family("ends", (3, 5, 7), "Write the first and last of these {size} letters", lambda s: s[0] + s[-1]),
    _family("double", (2, 3, 4), "Write each of these {size} letters twice", lambda s: "".join(c * 2 for c in s)),
    _family("rotate", (3, 4, 6), "Move the first of these {size} letters to the end", lambda s: s[1:] + s[0]),
    _family("every_second", (4, 6, 8), "Write every second one of these {size} letters", lambda s: s[1::2]),
    _family("next_letter", (2, 3, 5), "Shift these {size} letters to the next in the alphabet", _next_letters),
)
