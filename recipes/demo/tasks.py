"""Text questions with one verifiable answer, in families of three difficulties each."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from verl_vip.errors import InvalidInputError

_NUMBER_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]


@dataclass(frozen=True)
class Task:
    """One question.

    Attributes:
        family: Name of the family, the `data_source` of verl's rows.
        difficulty: Level within the family, from 1 (easy) upwards.
        prompt: The question. Operand sizes are spelled out, so that the sentence embedding reflects them.
        answer: The only answer that earns a reward.
        operand: The letters or digits that the question is about.
    """

    family: str
    difficulty: int
    prompt: str
    answer: str
    operand: str


@dataclass(frozen=True)
class Question:
    """A random draw from a family: a task without its family and difficulty."""

    prompt: str
    answer: str
    operand: str


@dataclass(frozen=True)
class Family:
    """A procedure that makes any number of questions of one kind.

    Attributes:
        name: Unique name.
        levels: One setting for each difficulty, easiest first.
        draw: Makes one question from a setting and a source of randomness.
    """

    name: str
    levels: tuple[Any, ...]
    draw: Callable[[Any, Random], Question]

    def stream(self, difficulty: int, seed: int) -> Iterator[Task]:
        """Yield an endless stream of tasks of one difficulty. The same seed gives the same tasks.

        Raises:
            InvalidInputError: If the family does not have this difficulty.
        """
        if not 1 <= difficulty <= len(self.levels):
            raise InvalidInputError(f"family {self.name} has difficulties 1 to {len(self.levels)}; got {difficulty}.")
        digest = hashlib.sha256(f"{self.name}/{difficulty}/{seed}".encode()).digest()
        rng = Random(int.from_bytes(digest[:8], "big"))
        while True:
            question = self.draw(self.levels[difficulty - 1], rng)
            yield Task(self.name, difficulty, question.prompt, question.answer, question.operand)


def number_word(number: int) -> str:
    """Return the English word for a number from 0 to 12."""
    return _NUMBER_WORDS[number]


def distinct_tasks(family: Family, difficulty: int, count: int, seed: int) -> list[Task]:
    """Return `count` tasks with distinct prompts, in the order of the draws.

    Raises:
        InvalidInputError: If the family cannot make that many different prompts.
    """
    found: dict[str, Task] = {}
    for draws, task in enumerate(family.stream(difficulty, seed), start=1):
        found.setdefault(task.prompt, task)
        if len(found) == count:
            break
        if draws > 200 + 50 * count:
            raise InvalidInputError(
                f"family {family.name} at difficulty {difficulty} gave {len(found)} different prompts in "
                f"{draws} draws, and {count} were asked for; ask for fewer."
            )
    return list(found.values())
