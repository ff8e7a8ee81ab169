"""String tasks for four benches. Each bench has two sets without a common family: one for tuning and one for reporting.

- `short_answers`: the response is the right answer and nothing else.
- `working` and `working_long`: six free letters come before the answer, as reasoning does. Responses are longer, 26^6
  of them are right, and most of the text does not affect the reward. Most prompts are almost always or almost never
  solved, as in practice (see `LOG.md`).
- `lopsided`: 32 free letters come before the answer, and the training prompts resemble an unfiltered data set. Families
  that the base model has solved or was never taught have three times as many prompts as the others.
- `mixture`: the free letters follow the answer, and most prompts are from solved families or cannot be learned.
- `hidden`: as `mixture`, but three quarters of each family cannot be learned, and nothing in a prompt says which.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from random import Random
from string import ascii_lowercase
from typing import Any

from benchmarks.learning.rules import (
    REPORT,
    SECRETS_REPORT,
    SECRETS_TUNING,
    TUNING,
    Rule,
    is_hidden,
    partly_hidden,
)
from verl_vip.recipes.demo.tasks import Family, Question, Task, distinct_tasks, number_word

_LENGTHS = (3, 4, 5)
#: Possible numbers of free letters, as written in prompts.
_FREE_WORDS = {6: "six", 8: "eight", 32: "thirty-two"}


@dataclass(frozen=True)
class TaskSet:
    """Families, and the rates at which the base model is taught their right answers.

    Attributes:
        name: Unique name.
        families: Families with one difficulty for each length.
        right_rate: By family name, one rate for each difficulty.
        free: Free letters before the answer.
        trailing: Free letters after the answer, which then ends with a stop.
        copies: By family name, a factor on the number of training prompts.
        beyond: Families whose right answers cannot be known. They are trained on, but not evaluated.
        hidden: Share of every family's prompts whose right answers cannot be known, although their wording is that of
            the others. They are trained on, but not evaluated, and the base model is not taught them.
        base: The set whose base model is used, if it is another one.
        base_seed: Seed of the base model's training; None for the usual one.
        per_cell: Training prompts of each family and difficulty, before copies.
    """

    name: str
    families: tuple[Family, ...]
    right_rate: dict[str, tuple[float, ...]]
    free: int = 0
    trailing: int = 0
    copies: Mapping[str, int] = field(default_factory=dict)
    beyond: frozenset[str] = frozenset()
    hidden: float = 0.0
    base: str = ""
    base_seed: int | None = None
    per_cell: int = 60

    def draw(self, per_cell: int, seed: int) -> list[Task]:
        """Return `per_cell` distinct tasks of each family and difficulty, without the hidden ones among them."""
        return [
            task
            for family in self.families
            for difficulty in range(1, len(family.levels) + 1)
            for task in distinct_tasks(family, difficulty, per_cell, seed)
            if not self.hides(task)
        ]

    def hides(self, task: Task) -> bool:
        """Whether a task is one of the hidden ones."""
        return is_hidden(task.operand, self.hidden)


def written(answer: str, task_set: TaskSet) -> str:
    """Return an answer as a task set writes it: with a stop if free letters follow."""
    return f"{answer}." if task_set.trailing else answer


def _family(name: str, wording: str, rule: Rule, free: int, trailing: int) -> Family:
    first = f"Write any {_FREE_WORDS[free]} letters first. " if free else ""
    if trailing:
        first = f"Answer with a stop, then add any {_FREE_WORDS[trailing]} letters. "

    def draw(length: int, rng: Random) -> Question:
        letters = "".join(rng.sample(ascii_lowercase, length))
        question = f'{first}{wording.format(size=number_word(length))}: "{letters}"'
        return Question(question, rule(letters), letters)

    return Family(name, _LENGTHS, draw)


def _even_rates(rules: dict[str, tuple[str, Rule]], seed: int) -> dict[str, tuple[float, ...]]:
    """Return rates evenly spaced in logits, in random order. Longer strings have lower rates."""
    order = sorted(rules)
    Random(seed).shuffle(order)
    rates = {}
    for place, family in enumerate(order):
        centre = _HIGHEST + (_LOWEST - _HIGHEST) * place / (len(order) - 1)
        rates[family] = tuple(1 / (1 + exp(-(centre + shift))) for shift in (_SPREAD, 0.0, -_SPREAD))
    return rates


_HIGHEST, _LOWEST, _SPREAD = 3.5, -1.8, 0.6

#: Most rates are near 0 or 1.
_SPLIT_RATES = (
    (0.995, 0.99, 0.98),
    (0.995, 0.99, 0.98),
    (0.995, 0.99, 0.98),
    (0.995, 0.99, 0.97),
    (0.99, 0.97, 0.92),
    (0.97, 0.90, 0.75),
    (0.85, 0.60, 0.35),
    (0.60, 0.35, 0.15),
    (0.40, 0.15, 0.06),
    (0.15, 0.07, 0.04),
    (0.10, 0.05, 0.03),
    (0.08, 0.04, 0.03),
)
#: The families with these rates, highest rate first. Skills that a small model learns early come first; the others are
#: in no order.
_SPLIT_TUNING = (
    "repeat", "first_thrice", "second", "last_two", "ends", "without_last",
    "every_second", "rotate", "next_letter", "sort", "swap_ends", "earliest",
)  # fmt: skip
_SPLIT_REPORT = (
    "first_two", "final", "last_thrice", "without_first", "odd_places", "latest",
    "swap_first", "previous_letter", "last_to_front", "sort_down", "double", "backward",
)  # fmt: skip
_FREE = 6

_SOLVED, _NEVER = (0.995, 0.99, 0.98), (0.0, 0.0, 0.0)
#: Five solved families, four in between, and three that are never taught.
_LOPSIDED_RATES = (
    *(_SOLVED,) * 5,
    (0.90, 0.80, 0.65),
    (0.75, 0.60, 0.45),
    (0.65, 0.50, 0.35),
    (0.50, 0.40, 0.30),
    *(_NEVER,) * 3,
)
#: The families with these rates, in order. Those in between vary most between base models.
_LOPSIDED_TUNING = (
    "repeat", "first_thrice", "second", "last_two", "ends",
    "without_last", "every_second", "rotate", "swap_ends",
    "sort", "earliest", "next_letter",
)  # fmt: skip
_LOPSIDED_REPORT = (
    "first_two", "final", "last_thrice", "without_first", "odd_places",
    "latest", "swap_first", "last_to_front", "backward",
    "sort_down", "double", "previous_letter",
)  # fmt: skip
_LONG = 32


def _lopsided(name: str, rules: dict[str, tuple[str, Rule]], order: tuple[str, ...]) -> TaskSet:
    rates = dict(zip(order, _LOPSIDED_RATES, strict=True))
    copies = {family: 3 for family, rate in rates.items() if rate in (_SOLVED, _NEVER)}
    # In the families' order, because the base model's fingerprint contains the rates.
    rates = {family: rates[family] for family in rules}
    return TaskSet(name, _families(rules, _LONG), rates, _LONG, copies=copies)


#: The share of hidden prompts, and the prompts of a family and difficulty; there are 966 in all.
_HIDDEN, _HIDDEN_PER_CELL = 0.75, 46


def _hidden(name: str, rules: dict[str, tuple[str, Rule]], order: tuple[str, ...], **others: Any) -> TaskSet:
    """Return a set of the families of `mixture` that are neither solved nor beyond learning, partly hidden."""
    rates = dict(zip(order, _MIXTURE_RATES, strict=True))
    rates = {family: rates[family] for family in order[3:]}
    wording = {family: (rules[family][0], partly_hidden(rules[family][1], _HIDDEN)) for family in rates}
    families = _families(wording, trailing=_LONG)
    return TaskSet(name, families, rates, trailing=_LONG, hidden=_HIDDEN, per_cell=_HIDDEN_PER_CELL, **others)


#: The families in the order of `_MIXTURE_RATES`; the others are left out.
_MIXTURE_TUNING = (
    "repeat", "first_thrice", "second",
    "last_two", "ends", "without_last", "every_second", "rotate", "swap_ends", "sort",
)  # fmt: skip
_MIXTURE_REPORT = (
    "first_two", "last_thrice", "final",
    "without_first", "odd_places", "latest", "swap_first", "last_to_front", "backward", "sort_down",
)  # fmt: skip
#: Three solved families and seven in between.
_MIXTURE_RATES = (
    *(_SOLVED,) * 3,
    (0.95, 0.90, 0.80),
    (0.90, 0.80, 0.70),
    (0.85, 0.75, 0.65),
    (0.80, 0.70, 0.60),
    (0.75, 0.65, 0.55),
    (0.70, 0.60, 0.50),
    (0.65, 0.55, 0.45),
)
#: Copies of each of the first two families, which the base models have solved, and of each that cannot be learned.
_MIXTURE_COPIES = (10, 8)
#: Training prompts of a cell in the small pool, so small that groups of four meet every prompt three times in a run.
_SMALL = 7
#: Numbers of the base models of the benches that have several.
BASES = (1, 2, 3)
#: Copies for other pools with the report set's base model, from almost all prompts decided to none.
OTHER_COPIES = ((21, 17), (4, 4), (1, 1), (0, 0))


def _mixture(
    name: str,
    rules: dict[str, tuple[str, Rule]],
    secrets: dict[str, tuple[str, Rule]],
    order: tuple[str, ...],
    copies: tuple[int, int] = _MIXTURE_COPIES,
    **others: Any,
) -> TaskSet:
    settings = {"trailing": _LONG, **others}
    rates = dict(zip(order, _MIXTURE_RATES, strict=True)) | dict.fromkeys(secrets, _NEVER)
    families = _families({family: (rules | secrets)[family] for family in rates}, trailing=settings["trailing"])
    of_each = dict.fromkeys(order[:2], copies[0]) | dict.fromkeys(secrets, copies[1])
    return TaskSet(name, families, rates, copies=of_each, beyond=frozenset(secrets), **settings)


def mixture_with(easy: int, beyond: int) -> str:
    """Return the name of the mixture with these numbers of copies of easy families and of those beyond learning."""
    return f"mixture_report_{easy}_{beyond}"


def _mixture_report(name: str, **others: Any) -> TaskSet:
    return _mixture(name, REPORT, SECRETS_REPORT, _MIXTURE_REPORT, **others)


def base_number(name: str, number: int) -> str:
    """Return the name of a task set with the base model of this number; 1 is its own."""
    return name if number == 1 else f"{name}_base_{number}"


def _families(rules: dict[str, tuple[str, Rule]], free: int = 0, trailing: int = 0) -> tuple[Family, ...]:
    return tuple(_family(key, *rule, free, trailing) for key, rule in rules.items())


TASK_SETS = {
    "tuning": TaskSet("tuning", _families(TUNING), _even_rates(TUNING, seed=1)),
    "report": TaskSet("report", _families(REPORT), _even_rates(REPORT, seed=2)),
    "working_tuning": TaskSet(
        "working_tuning", _families(TUNING, _FREE), dict(zip(_SPLIT_TUNING, _SPLIT_RATES, strict=True)), _FREE
    ),
    "working_report": TaskSet(
        "working_report", _families(REPORT, _FREE), dict(zip(_SPLIT_REPORT, _SPLIT_RATES, strict=True)), _FREE
    ),
    "lopsided_tuning": _lopsided("lopsided_tuning", TUNING, _LOPSIDED_TUNING),
    "lopsided_report": _lopsided("lopsided_report", REPORT, _LOPSIDED_REPORT),
    "mixture_tuning": _mixture("mixture_tuning", TUNING, SECRETS_TUNING, _MIXTURE_TUNING),
    "mixture_report": _mixture_report("mixture_report"),
    "mixture_report_short": _mixture_report("mixture_report_short", trailing=8),
    "hidden_tuning": _hidden("hidden_tuning", TUNING, _MIXTURE_TUNING),
    **{
        name: _hidden(name, REPORT, _MIXTURE_REPORT, base_seed=None if number == 1 else number)
        for number in BASES
        for name in [base_number("hidden_report", number)]
    },
    "mixture_tuning_small": _mixture(
        "mixture_tuning_small", TUNING, SECRETS_TUNING, _MIXTURE_TUNING, base="mixture_tuning", per_cell=_SMALL
    ),
    "mixture_report_small": _mixture_report("mixture_report_small", base="mixture_report", per_cell=_SMALL),
    **{
        name: _mixture_report(name, base_seed=number)
        for number in BASES[1:]
        for name in [base_number("mixture_report", number)]
    },
    **{
        name: _mixture_report(name, base=base_number("mixture_report", number), per_cell=_SMALL)
        for number in BASES[1:]
        for name in [base_number("mixture_report_small", number)]
    },
    **{
        name: _mixture_report(name, copies=copies, base="mixture_report")
        for copies in OTHER_COPIES
        for name in [mixture_with(*copies)]
    },
}
