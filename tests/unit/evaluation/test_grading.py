"""Graders, and where scorers disagree."""

import math
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.evaluation import grading
from verl_vip.evaluation.benchmarks import Problem
from verl_vip.evaluation.grading import Grade, IntegerGrader, make_grader


def problem(answer="33", source="aime24"):
    return Problem("p", ({"role": "user", "content": "?"},), answer, source, {"index": 1})


#: Response, true answer; then whether verl's `math_dapo`, math-verify and our grader find it right. All are
#: harmless ways to write 33 but for the last two, which are wrong answers.
FORMATS = [
    (r"The answer is \boxed{33}.", "33", True, True, True),
    ("Answer: 33", "33", True, True, False),
    ("Answer: $33$", "33", True, True, False),
    (r"Answer: \boxed{33}", "33", True, True, True),
    (r"Answer: $\boxed{33}$", "33", True, True, True),
    ("answer: 33", "33", True, True, False),
    (r"Answer: \boxed{33}" + "\nThat was it.", "33", True, True, True),
    (r"So \boxed{033}", "33", False, True, True),
    ("Answer: 33", "033", False, True, False),
    (r"So \boxed{33}", "033", False, True, True),
    ("Answer: 33.", "33", False, True, False),
    ("Answer: 33.0", "33", False, True, False),
    ("**Answer:** 33", "33", False, True, False),
    (r"So \boxed{ 33 }", "33", False, True, True),
    (r"So \boxed{\text{33}}", "33", False, True, True),
    (r"So \boxed{33^\circ}", "33", False, True, True),
    (r"So \boxed{\frac{66}{2}}", "33", False, True, True),
    ("The answer is 33", "33", False, True, False),
    (r"So \boxed{33}. " + "This holds since every other case was excluded above. " * 3, "33", False, True, True),
    (r"So \boxed{34}", "33", False, False, False),
    ("Answer: 34", "33", False, False, False),
]


@pytest.mark.filterwarnings("ignore")  # importing verl warns of every engine that is absent
@pytest.mark.parametrize(("response", "true", "by_verl", "by_math_verify", "by_us"), FORMATS)
def test_formats_that_scorers_disagree_on(response, true, by_verl, by_math_verify, by_us):
    from verl.utils.reward_score.math_dapo import compute_score

    grade = IntegerGrader().grade(response, problem(true))
    assert bool(compute_score(response, true)["acc"]) is by_verl
    assert grade.second is by_math_verify
    assert grade.correct is by_us


def test_the_table_holds_what_it_is_about():
    assert len(FORMATS) == 21
    assert sum(by_verl != by_math_verify for *_, by_verl, by_math_verify, _ in FORMATS) == 12
    # A box that states an integer is never missed, and no answer is found where no box asks for it.
    assert all(by_us is (r"\boxed" in response and "34" not in response) for response, *_, by_us in FORMATS)


@pytest.mark.parametrize(
    ("response", "grade"),
    [
        (r"\boxed{12} no, \boxed{33}", Grade("33", True, False)),  # math-verify takes both boxes for a set
        (r"\boxed{33} no, \boxed{12}", Grade("12", False, False)),
        ("I give up.", Grade(None, False, False)),
        ("", Grade(None, False, False)),
        (r"\boxed{}", Grade(None, False, False)),
        (r"\boxed{2^5 + 1}", Grade("2^5 + 1", False, True)),
        (r"\boxed{33} and then \boxed{3", Grade("33", True, True)),
        (r"\\boxed{33}", Grade("33", True, True)),
        (r"$\boxed 33$", Grade("33", True, True)),
        (r"$x = \boxed{7}$ or $x = \boxed{33}$", Grade("7, 33", False, False)),
        (r"\boxed{x=7 \text{ or } x=33}", Grade(r"x=7 \text{ or } x=33", False, False)),
        (r"\boxed{n >= 33}", Grade("n >= 33", False, False)),
        (r"\boxed{33 \text{ lakh}}", Grade(r"33 \text{ lakh}", False, True)),
    ],
)
def test_integer_grader(response, grade):
    assert make_grader("integer").grade(response, problem()) == grade


@pytest.mark.parametrize("answer", [33, 33.0, "33.0", r"33^\circ", "$33$", np.int64(33), np.float32(33)])
def test_integer_grader_takes_every_spelling_of_a_true_answer(answer):
    grader = make_grader("integer")
    grader.check(problem(answer))
    assert grader.grade(r"\boxed{33}", problem(answer)) == Grade("33", True, True)
    assert grader.grade(r"\boxed{34}", problem(answer)) == Grade("34", False, False)


@pytest.mark.parametrize("answer", ["abc", "3.5", "", None, ["33"], 3.5, math.nan, "nan", True])
def test_integer_grader_refuses_other_answers_and_says_what_to_do(answer):
    with pytest.raises(ConfigError, match="--grader exact"):
        IntegerGrader().check(problem(answer))


def test_second_opinion_needs_the_main_thread_and_says_so():
    caught = []

    def grade():
        try:
            IntegerGrader().grade(r"\boxed{33}", problem())
        except InvalidInputError as error:
            caught.append(str(error))

    thread = threading.Thread(target=grade)
    thread.start()
    thread.join()
    assert caught == ["math-verify limits its time with a signal, which works only in the main thread; grade there."]


def test_exact_grader_ignores_white_space_alone():
    grader = make_grader("exact")
    assert grader.grade(" a  b\n", problem("a b")) == Grade("a b", True)
    assert grader.grade("ab", problem("a b")) == Grade("ab", False)
    assert grader.grade(" ", problem("a b")) == Grade(None, False)


def test_reward_functions_of_the_demo_and_of_verl():
    demo = make_grader("pkg://verl_vip.recipes.demo.reward:compute_score")
    assert demo.grade("o l l e h", problem("o l l e h")) == Grade("o l l e h", True)
    assert demo.describe()["sha256"]
    verl = make_grader("pkg://verl.utils.reward_score:default_compute_score")
    # It pays -1 and 1; its acc decides, and its pred votes.
    assert verl.grade("Answer: 33", problem()) == Grade("33", True)
    assert verl.grade("Answer: 34", problem()) == Grade("34", False)


def test_a_reward_function_from_a_file(tmp_path):
    path = tmp_path / "reward.py"
    path.write_text(
        "def score(data_source, solution_str, ground_truth, extra_info=None):\n"
        "    return {'score': 0.1 + (solution_str == ground_truth) * extra_info['index'], 'pred': None}\n"
    )
    grader = make_grader(f"{path}:score")
    assert grader.grade("33", problem()) == Grade(None, True)
    assert grader.grade("34", problem()) == Grade(None, False)  # a tenth for the format is not right


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fuzzy", "there is no grader 'fuzzy'; choose integer, exact"),
        ("no_such_file.py:score", "there is no file no_such_file.py"),
        ("pkg://no_such_package.reward:score", "No module named 'no_such_package'"),
        ("pkg://verl_vip.recipes.demo.reward:no_such", "has no function 'no_such'"),
    ],
)
def test_bad_graders_are_refused_in_words(spec, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        make_grader(spec)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def score(:\n", "cannot be imported: .*reward.py, line 1: SyntaxError: "),
        ("import no_such\n", "cannot be imported: .*reward.py, line 1: ModuleNotFoundError: No module named 'no_such'"),
        ("\nx = 1 / 0\n", "cannot be imported: .*reward.py, line 2: ZeroDivisionError"),
        ("def score(response):\n    return 1\n", r"takes \(response\); it must take data_source,"),
        ("async def score(**_):\n    return 1\n", "is an async function"),
    ],
)
def test_a_file_of_no_use_is_refused_before_anything_is_sampled(tmp_path, code, message):
    path = tmp_path / "reward.py"
    path.write_text(code)
    with pytest.raises(ConfigError, match=message) as refused:
        make_grader(f"{path}:score")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {'points': 1}", r"returned {'points': 1}; it must return a number, or a dict"),
        ("return 'right'", "returned 'right'; it must return a number"),
        ("return None", "returned None; it must"),
        ("return float('nan')", "returned nan; it must return a number"),
        ("return {'score': 1, 'acc': float('nan')}", "it must return a number, or a dict"),
        (
            "raise ValueError('two\\nlines')",
            "response to problem p: .*reward.py, line 2: ValueError: two lines. The samples",
        ),
    ],
)
def test_a_reward_that_is_none(tmp_path, body, message):
    path = tmp_path / "reward.py"
    path.write_text(f"def score(**_):\n    {body}\n")
    with pytest.raises(ConfigError, match=message):
        make_grader(f"{path}:score").grade("33", problem())


#: One reward, and all that Python can make of a function.
CALLABLES = """
from __future__ import annotations

import dataclasses
import functools

def reward(data_source, solution_str, ground_truth, extra_info=None, right=1.0):
    return right * (solution_str == ground_truth) * extra_info["index"]

@dataclasses.dataclass
class Reward:
    right: float

    def __call__(self, data_source, solution_str, ground_truth, extra_info=None):
        return reward(data_source, solution_str, ground_truth, extra_info, self.right)

    def method(self, data_source, solution_str, ground_truth, extra_info=None):
        return self(data_source, solution_str, ground_truth, extra_info)

    @staticmethod
    def static(data_source, solution_str, ground_truth, extra_info=None):
        return reward(data_source, solution_str, ground_truth, extra_info)

def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return 1.0 * function(*args, **kwargs)
    return wrapper

partial = functools.partial(reward, right=1.0)
cached = functools.lru_cache(reward)
unbounded = functools.cache(reward)
partial_of_cached = functools.partial(functools.lru_cache(maxsize=8)(reward), right=1.0)
cached_partial = functools.lru_cache(functools.partial(reward, right=1.0))
partial_of_object = functools.partial(Reward(1.0))
object_ = Reward(1.0)
method = Reward(1.0).method
static = Reward.static
wrapped = decorated(reward)
anonymous = lambda data_source, solution_str, ground_truth, extra_info: reward(
    data_source, solution_str, ground_truth, extra_info)
"""
NAMES = (
    *("reward", "partial", "cached", "unbounded", "partial_of_cached", "cached_partial", "partial_of_object"),
    *("object_", "method", "static", "wrapped", "anonymous"),
)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_can_be_called_is_as_good_as_a_function(tmp_path, name):
    path = tmp_path / "reward.py"
    path.write_text(CALLABLES)
    grader = make_grader(f"{path}:{name}")
    assert grader.grade("33", problem()) == Grade("33", True)
    assert grader.grade("34", problem()) == Grade("34", False)
    before = grader.describe()["sha256"]
    assert make_grader(f"{path}:{name}").describe()["sha256"] == before
    path.write_text(CALLABLES.replace("right=1.0", "right=2.0"))
    assert make_grader(f"{path}:{name}").describe()["sha256"] != before


def test_the_identity_holds_the_file_named_and_the_file_of_the_function(tmp_path, monkeypatch):
    library, path = tmp_path / "library_of_rewards.py", tmp_path / "reward.py"
    monkeypatch.syspath_prepend(tmp_path)
    path.write_text(
        "import functools, library_of_rewards\nscore = functools.partial(library_of_rewards.score, scale=1)\n"
    )
    found = []
    for scale, code in ((1, "scale"), (2, "scale"), (2, "scale + 0")):
        library.write_text(f"def score(scale, **_):\n    return {code}\n")
        path.write_text(path.read_text().replace("scale=1", f"scale={scale}"))
        found.append(make_grader(f"{path}:score").describe()["sha256"])
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    "code",
    [
        "import functools\nasync def f(**_):\n    return 1\nscore = functools.partial(f, x=1)\n",
        "class C:\n    async def __call__(self, **_):\n        return 1\nscore = C()\n",
        "import functools\n@functools.cache\nasync def score(**_):\n    return 1\n",
    ],
)
def test_an_async_function_is_found_inside_anything(tmp_path, code):
    path = tmp_path / "reward.py"
    path.write_text(code)
    with pytest.raises(ConfigError, match="is an async function"):
        make_grader(f"{path}:score")


def test_the_integer_graders_identity_follows_its_source():
    described = IntegerGrader().describe()
    assert described["name"] == "integer"
    assert len(described["sha256"]) == 64
    assert described["math_verify"]
    sources = {name: Path(grading.__file__).with_name(name).read_text() for name in grading._READERS}
    imported = re.findall(r"^from verl_vip\.evaluation\.(\w+) import", "".join(sources.values()), re.MULTILINE)
    assert {f"{module}.py" for module in imported} <= set(sources)
