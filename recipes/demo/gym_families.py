"""Families whose questions and answers come from reasoning-gym, with a shorter wording."""

from functools import cache
from random import Random
from typing import Any

import reasoning_gym

from verl_vip.recipes.demo.tasks import Family, Question, number_word

Setting = tuple[tuple[str, int], ...]

#: reasoning-gym seeds entry i of a dataset with seed + i, so one dataset of this virtual size is enough for all draws.
_VIRTUAL_SIZE = 2**31


@cache
def _dataset(name: str, setting: Setting) -> Any:
    return reasoning_gym.create_dataset(name, seed=0, size=_VIRTUAL_SIZE, **dict(setting))


def _entry(name: str, setting: Setting, rng: Random) -> tuple[dict[str, Any], str]:
    """Return one entry's metadata and answer."""
    entry = _dataset(name, setting)[rng.randrange(_VIRTUAL_SIZE)]
    return entry["metadata"], entry["answer"]


def _exactly(sizes: tuple[int, ...], *keys: str, **fixed: int) -> tuple[Setting, ...]:
    """Return one setting for each size, with `min_<key>` and `max_<key>` equal to it, plus the fixed ones."""
    return tuple(
        tuple({f"{bound}_{key}": size for key in keys for bound in ("min", "max")}.items()) + tuple(fixed.items())
        for size in sizes
    )


def _spell_backward(setting: Setting, rng: Random) -> Question:
    metadata, answer = _entry("spell_backward", setting, rng)
    word = metadata["word"].lower()
    prompt = f'Spell this {number_word(len(word))} letter word backward: "{word}"'
    return Question(prompt, answer.lower(), word)


def _digits(numbers: list[str]) -> str:
    return "".join(str(int(float(number))) for number in numbers)


def _number_sorting(setting: Setting, rng: Random) -> Question:
    metadata, _ = _entry("number_sorting", setting, rng)
    digits = _digits(metadata["original_numbers"])
    prompt = f'Sort these {number_word(len(digits))} digits in {metadata["direction"]} order: "{digits}"'
    return Question(prompt, _digits(metadata["sorted_numbers"]), digits)


def _number_filtering(setting: Setting, rng: Random) -> Question:
    metadata, _ = _entry("number_filtering", setting, rng)
    digits = _digits(metadata["original_numbers"])
    action, relation = metadata["operation"].split("_")
    prompt = (
        f"{action.capitalize()} all digits {relation} than {metadata['filter_value']} "
        f'in these {number_word(len(digits))} digits: "{digits}"'
    )
    return Question(prompt, _digits(metadata["result"]) or "none", digits)


def _letter_counting(length: tuple[int, int], rng: Random) -> Question:
    while True:
        metadata, answer = _entry("letter_counting", (("min_words", 1), ("max_words", 1)), rng)
        word = metadata["span"][0].lower()
        if word.isalpha() and length[0] <= len(word) <= length[1]:
            size = number_word(len(word))
            letter = metadata["target_letter"]
            prompt = f'How many times does the letter "{letter}" appear in this {size} letter word: "{word}"'
            return Question(prompt, answer, word)


def _count_bits(setting: Setting, rng: Random) -> Question:
    metadata, answer = _entry("count_bits", setting, rng)
    bits = metadata["binary"]
    return Question(f'Count the ones in this {number_word(len(bits))} digit binary number: "{bits}"', answer, bits)


def _chain_sum(setting: Setting, rng: Random) -> Question:
    metadata, answer = _entry("chain_sum", setting, rng)
    expression = metadata["expression"].replace(" ", "")
    size = number_word(metadata["num_digits"])
    return Question(f'Calculate with {size} digit numbers: "{expression}"', answer, expression)


def _gcd(setting: Setting, rng: Random) -> Question:
    metadata, answer = _entry("gcd", setting, rng)
    numbers = metadata["numbers"]
    size = number_word(len(str(dict(setting)["max_value"])))
    operand = ",".join(map(str, numbers))
    return Question(f'Find the greatest common divisor of these {size} digit numbers: "{operand}"', answer, operand)


def _leg_counting(setting: Setting, rng: Random) -> Question:
    metadata, answer = _entry("leg_counting", setting, rng)
    animals = metadata["animals"].items()
    listed = " and ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in animals)
    operand = "".join(str(count) for _, count in animals)
    kinds = f"{number_word(len(animals))} kind{'s' * (len(animals) > 1)} of animal"
    most = number_word(dict(setting)["max_instances"])
    return Question(f"Count the legs of {kinds}, up to {most} of each: {listed}", answer, operand)


def _bits(*widths: int) -> tuple[Setting, ...]:
    return tuple((("min_n", 2 ** (width - 1)), ("max_n", 2**width - 1)) for width in widths)


_ONE_DIGIT = {"min_decimals": 0, "max_decimals": 0, "min_value": 0, "max_value": 9}

GYM_FAMILIES = (
    Family("spell_backward", _exactly((3, 4, 6), "word_len"), _spell_backward),
    Family("number_sorting", _exactly((3, 4, 6), "numbers", **_ONE_DIGIT), _number_sorting),
    Family("number_filtering", _exactly((3, 4, 6), "numbers", **_ONE_DIGIT), _number_filtering),
    Family("letter_counting", ((3, 4), (5, 6), (7, 9)), _letter_counting),
    Family("count_bits", _bits(8, 10, 12), _count_bits),
    Family("chain_sum", _exactly((1, 2, 3), "digits", min_terms=2, max_terms=2), _chain_sum),
    Family(
        "gcd",
        tuple(
            (("min_numbers", 2), ("max_numbers", 2), ("min_value", low), ("max_value", high))
            for low, high in ((1, 9), (10, 99), (100, 400))
        ),
        _gcd,
    ),
    Family(
        "leg_counting",
        tuple(
            (("min_animals", kinds), ("max_animals", kinds), ("min_instances", 1), ("max_instances", most))
            for kinds, most in ((1, 5), (1, 12), (2, 9))
        ),
        _leg_counting,
    ),
)
