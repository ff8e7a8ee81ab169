"""Graders of responses: by the last boxed integer, by the exact text, or with a verl reward function."""

import hashlib
import importlib.metadata
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.evaluation.benchmarks import Problem
from verl_vip.evaluation.boxed import last_boxed
from verl_vip.evaluation.integers import as_integer, integer_answer
from verl_vip.evaluation.reward_function import RewardFunction
from verl_vip.json_lines import valid_text

#: A response with a reward above this is correct. verl's scorers give 1 to correct responses, and 0, -1 or a small
#: format reward to others.
_RIGHT_ABOVE = 0.5

#: Modules that read an integer answer, on which a grade depends.
_READERS = ("boxed.py", "integers.py", "left_sides.py", "units.py")


@dataclass(frozen=True)
class Grade:
    """The grade of one response.

    Attributes:
        answer: The answer that the response gives, as counted by the majority vote; None if it gives no answer.
        correct: Whether the answer is correct.
        second: Whether the answer is correct according to the second opinion; None without a second opinion.
    """

    answer: str | None
    correct: bool
    second: bool | None = None


class Grader(Protocol):
    """Grades the responses to a problem."""

    def describe(self) -> Mapping[str, Any]:
        """Return, as JSON values, everything that a grade depends on."""
        ...

    def check(self, problem: Problem) -> None:
        """Refuse a problem whose true answer this grader cannot handle.

        Raises:
            ConfigError: If the answer is unsuitable; the caller adds the row to the message.
        """
        ...

    def grade(self, response: str, problem: Problem) -> Grade:
        """Grade one response."""
        ...


class IntegerGrader:
    """Grades by the last boxed answer as an integer, with math-verify as the second opinion if it is installed.

    math-verify limits its time with a signal, so that grading must run in the main thread.
    """

    def __init__(self) -> None:
        self._second = _math_verify()

    def describe(self) -> Mapping[str, Any]:
        """Return the name of the grader and everything else that a grade depends on."""
        version = None if self._second is None else importlib.metadata.version("math-verify")
        return {
            "name": "integer",
            "sha256": _own_source(),
            "second_opinion": "math-verify" if version else None,
            "math_verify": version,
        }

    def check(self, problem: Problem) -> None:
        """Refuse a true answer that this grader cannot handle."""
        if integer_answer(problem.answer) is None:
            raise ConfigError(
                f"the answer {problem.answer!r} is not an integer; choose --grader exact, or --grader FILE:FUNCTION "
                "with the reward function that the model was trained with."
            )

    def grade(self, response: str, problem: Problem) -> Grade:
        """Grade one response."""
        true = integer_answer(problem.answer)
        boxed = last_boxed(response)
        number = None if boxed is None else as_integer(boxed)
        answer = str(number) if number is not None else (boxed.strip() or None) if boxed is not None else None
        second = None if self._second is None else self._second(response, str(true))
        return Grade(answer, number is not None and number == true, second)


class ExactGrader:
    """Grades by the whole text of the response, up to white space."""

    def describe(self) -> Mapping[str, Any]:
        """Return the name of the grader and everything else that a grade depends on."""
        return {"name": "exact", "second_opinion": None}

    def check(self, problem: Problem) -> None:
        """Refuse a true answer that this grader cannot handle."""
        if not isinstance(problem.answer, str):
            raise ConfigError(
                f"the answer {problem.answer!r} is not text; choose --grader integer, or --grader FILE:FUNCTION."
            )

    def grade(self, response: str, problem: Problem) -> Grade:
        """Grade one response."""
        answer = " ".join(response.split())
        return Grade(answer or None, answer == " ".join(problem.answer.split()))


class RewardGrader:
    """Grades with a function that has the signature of verl's custom reward functions.

    A response is correct if its reward is above 0.5. Of a dict, the reward is `acc` if present and `score` otherwise.
    The answer for the majority vote is the dict's `pred` if present, and the whole response otherwise.

    Args:
        spec: `FILE:FUNCTION` or `pkg://MODULE:FUNCTION`; see `RewardFunction`.

    Raises:
        ConfigError: If the function does not exist.
    """

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._function = RewardFunction(spec)

    def describe(self) -> Mapping[str, Any]:
        """Return the name of the grader and everything else that a grade depends on."""
        return {"name": self._spec, "sha256": self._function.sha256, "second_opinion": None}

    def check(self, problem: Problem) -> None:
        """Accept any answer, because only the function can judge it."""

    def grade(self, response: str, problem: Problem) -> Grade:
        """Grade one response.

        Raises:
            ConfigError: If the function fails, or does not return a reward.
        """
        reward = self._function(response, problem)
        details = reward if isinstance(reward, Mapping) else {"score": reward}
        try:
            score = float(details["acc"] if "acc" in details else details["score"])
        except (KeyError, TypeError, ValueError, OverflowError):
            score = math.nan
        if math.isnan(score):
            raise ConfigError(
                f"--grader {self._spec} returned {reward!r}; it must return a number, or a dict with a number under "
                "score or acc."
            )
        prediction = details.get("pred", " ".join(response.split()))
        answer = None if prediction is None else valid_text(str(prediction)).strip() or None
        return Grade(answer, score > _RIGHT_ABOVE)


def make_grader(spec: str) -> Grader:
    """Return the grader named `integer` or `exact`, or the grader of a verl reward function.

    Raises:
        ConfigError: If the grader does not exist.
    """
    if spec == "integer":
        return IntegerGrader()
    if spec == "exact":
        return ExactGrader()
    if ":" in spec.removeprefix("pkg://"):
        return RewardGrader(spec)
    raise ConfigError(
        f"there is no grader {spec!r}; choose integer, exact, or a verl reward function as FILE:FUNCTION or "
        "pkg://MODULE:FUNCTION."
    )


def _own_source() -> str:
    """Return the hash of the source code that reads and grades an integer answer."""
    paths = [Path(__file__), *(Path(__file__).with_name(name) for name in _READERS)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _math_verify() -> Callable[[str, str], bool] | None:
    """Return a function of the response and the true answer, or None if math-verify is not installed."""
    try:
        from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
    except ModuleNotFoundError as error:
        if error.name != "math_verify":
            raise
        return None
    targets = (ExprExtractionConfig(), LatexExtractionConfig())

    def judge(response: str, true: str) -> bool:
        if threading.current_thread() is not threading.main_thread():
            raise InvalidInputError(
                "math-verify limits its time with a signal, which works only in the main thread; grade there."
            )
        return bool(verify(parse(f"\\boxed{{{true}}}", (LatexExtractionConfig(),)), parse(response, targets)))

    return judge
