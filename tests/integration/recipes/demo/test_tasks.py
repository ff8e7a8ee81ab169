from itertools import islice

import pytest

from verl_vip.errors import InvalidInputError
from verl_vip.recipes.demo.families import FAMILIES
from verl_vip.recipes.demo.reward import compute_score
from verl_vip.recipes.demo.supervision import RIGHT_RATE, wrong_answers
from verl_vip.recipes.demo.tasks import Task, distinct_tasks

CELLS = [(family, difficulty) for family in FAMILIES for difficulty in (1, 2, 3)]


def some_tasks(seed: int = 0) -> list[Task]:
    return [task for family, difficulty in CELLS for task in islice(family.stream(difficulty, seed), 20)]


def quoted(prompt: str) -> str:
    return prompt.split('"')[-2]


SOLUTIONS = {
    "spell_backward": lambda p: quoted(p)[::-1],
    "number_sorting": lambda p: "".join(sorted(quoted(p), reverse="descending" in p)),
    "letter_counting": lambda p: str(quoted(p).count(p.split('"')[1])),
    "count_bits": lambda p: str(quoted(p).count("1")),
    "repeat": quoted,
    "ends": lambda p: quoted(p)[0] + quoted(p)[-1],
    "double": lambda p: "".join(letter + letter for letter in quoted(p)),
    "rotate": lambda p: quoted(p)[1:] + quoted(p)[0],
    "every_second": lambda p: "".join(letter for i, letter in enumerate(quoted(p)) if i % 2),
    "next_letter": lambda p: "".join("a" if letter == "z" else chr(ord(letter) + 1) for letter in quoted(p)),
}


def test_there_are_a_dozen_families_of_three_difficulties_with_distinct_names():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 12
    assert {len(family.levels) for family in FAMILIES} == {3}


@pytest.mark.parametrize(("family", "difficulty"), CELLS, ids=lambda value: getattr(value, "name", value))
def test_the_answer_earns_the_reward_and_wrong_answers_do_not(family, difficulty):
    for task in islice(family.stream(difficulty, 0), 30):
        assert compute_score(task.family, task.answer, task.answer) == 1.0
        assert wrong_answers(task)
        for wrong in wrong_answers(task):
            assert compute_score(task.family, wrong, task.answer) == 0.0


@pytest.mark.parametrize("name", SOLUTIONS)
def test_answers_follow_from_the_prompt_alone(name):
    tasks = [task for task in some_tasks() if task.family == name]
    assert tasks
    assert [task.answer for task in tasks] == [SOLUTIONS[name](task.prompt) for task in tasks]


def test_arithmetic_answers_follow_from_the_prompt_alone():
    for task in some_tasks():
        if task.family == "gcd":
            a, b = map(int, quoted(task.prompt).split(","))
            assert [a % int(task.answer), b % int(task.answer)] == [0, 0]
        if task.family == "chain_sum":
            left, sign, right = quoted(task.prompt).replace("+", " + ").replace("-", " - ").split()
            assert int(task.answer) == int(left) + int(sign + right)


def test_filtering_keeps_digits_by_the_stated_bound():
    filtering = next(family for family in FAMILIES if family.name == "number_filtering")
    tasks = list(islice(filtering.stream(1, 0), 300))
    for task in tasks:
        action, _, _, relation, _, bound = task.prompt.split()[:6]
        chosen = {"larger": lambda digit, b=bound: digit > b, "smaller": lambda digit, b=bound: digit < b}[relation]
        kept = "".join(digit for digit in quoted(task.prompt) if chosen(digit) == (action == "Keep"))
        assert task.answer == (kept or "none")
    assert {task.prompt.split()[0] for task in tasks} == {"Keep", "Remove"}
    assert "none" in {task.answer for task in tasks}


def test_a_seed_decides_the_tasks():
    assert some_tasks(3) == some_tasks(3)
    assert some_tasks(3) != some_tasks(4)


def test_the_difficulties_of_a_family_differ_in_their_words():
    for family in FAMILIES:
        texts = [
            {" ".join(word for word in task.prompt.split() if word.isalpha()) for task in islice(stream, 30)}
            for stream in (family.stream(difficulty, 0) for difficulty in (1, 2, 3))
        ]
        assert len(set.union(*texts)) == sum(map(len, texts)), family.name


def test_distinct_tasks_have_different_prompts():
    tasks = distinct_tasks(FAMILIES[0], 1, 100, seed=0)
    assert len({task.prompt for task in tasks}) == 100


def test_too_many_distinct_tasks_are_refused():
    one_digit_sums = next(family for family in FAMILIES if family.name == "chain_sum")
    with pytest.raises(InvalidInputError, match=r"chain_sum at difficulty 1 gave \d+ different prompts"):
        distinct_tasks(one_digit_sums, 1, 1000, seed=0)


@pytest.mark.parametrize("difficulty", [0, 4])
def test_an_unknown_difficulty_is_refused(difficulty):
    with pytest.raises(InvalidInputError, match="difficulties 1 to 3"):
        next(FAMILIES[0].stream(difficulty, 0))


def test_every_family_has_a_rate_of_right_answers_that_falls_with_difficulty():
    assert set(RIGHT_RATE) == {family.name for family in FAMILIES}
    for rates in RIGHT_RATE.values():
        assert 1 > rates[0] > rates[1] > rates[2] > 0
