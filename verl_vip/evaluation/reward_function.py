"""Loads and calls a user's reward function with the signature of verl's.

Any error in it becomes one sentence that names the file and the line.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.machinery
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from verl_vip.errors import ConfigError
from verl_vip.evaluation.benchmarks import Problem


class RewardFunction:
    """A reward function, called as verl calls it: a function, `functools.partial`, cached function or callable object.

    Args:
        spec: `FILE:FUNCTION` or `pkg://MODULE:FUNCTION`.

    Attributes:
        sha256: Hash of the named file, and of the file that defines the function if that is another one. Imports of
            these files are not included.

    Raises:
        ConfigError: If the function does not exist, or its signature does not fit verl's call.
    """

    def __init__(self, spec: str) -> None:
        self._spec = spec
        place, _, name = spec.rpartition(":")
        module = _load(place, spec)
        function = getattr(module, name, None)
        if not callable(function):
            raise ConfigError(f"--grader {spec}: {place} has no function {name!r}.")
        _check_signature(function, spec)
        self._function = _without_cache(function)
        digest = hashlib.sha256()
        for path in _sources(module, function):
            digest.update(path.read_bytes())
        self.sha256 = digest.hexdigest()

    def __call__(self, response: str, problem: Problem) -> Any:
        """Call the function on a response and return its result.

        Raises:
            ConfigError: If the function fails.
        """
        try:
            return self._function(
                data_source=problem.source,
                solution_str=response,
                ground_truth=problem.answer,
                extra_info=dict(problem.extra_info),
            )
        except Exception as error:
            raise ConfigError(
                f"--grader {self._spec} failed on a response to problem {problem.id}: {_place_and_reason(error)}. The "
                "samples are kept; correct the function and run the same command again."
            ) from error


class _UncachedLoader(importlib.machinery.SourceFileLoader):
    """Compiles the source file without the bytecode cache, so that the hashed code is the code that runs.

    Python's bytecode cache does not notice a changed file that has the same size and was saved within the same second.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _load(place: str, spec: str) -> ModuleType:
    """Import the module; any error in the user's code becomes one sentence."""
    try:
        if place.startswith("pkg://"):
            return importlib.import_module(place.removeprefix("pkg://"))
        if not Path(place).is_file():
            raise ConfigError(f"--grader {spec}: there is no file {place}.")
        if Path(place).suffix != ".py":
            raise ConfigError(f"--grader {spec}: {place} is not a Python file.")
        module = ModuleType(f"verl_vip_grader_{Path(place).stem}")
        module.__file__ = place
        sys.modules[module.__name__] = module  # dataclasses and pickle look the module up there
        _UncachedLoader(module.__name__, place).exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"--grader {spec} cannot be imported: {_place_and_reason(error)}.") from error
    return module


def _check_signature(function: Callable[..., Any], spec: str) -> None:
    """Refuse a function whose signature does not fit verl's call, before anything is sampled."""
    if inspect.iscoroutinefunction(_innermost(function)):
        raise ConfigError(f"--grader {spec} is an async function; give one that returns the reward itself.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C have no signature
        return
    try:
        signature.bind(data_source="", solution_str="", ground_truth="", extra_info={})
    except TypeError as error:
        raise ConfigError(
            f"--grader {spec} takes {signature}; it must take data_source, solution_str, ground_truth and extra_info "
            "by name, as in verl."
        ) from error


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the user's own function: the one inside partials and decorators, or the `__call__` of an object."""
    while not inspect.isroutine(function) or hasattr(function, "__wrapped__"):
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.isclass(function):
            break
        else:
            function = type(function).__call__
    return function


def _without_cache(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a cached function without its cache, which cannot hash the dict `extra_info`."""
    if isinstance(function, functools.partial):
        return functools.partial(_without_cache(function.func), *function.args, **function.keywords)
    if hasattr(function, "cache_info") and hasattr(function, "__wrapped__"):
        return _without_cache(function.__wrapped__)
    return function


def _sources(module: ModuleType, function: Callable[..., Any]) -> list[Path]:
    files = [module.__file__]
    with contextlib.suppress(TypeError):  # raised for functions written in C
        files.append(inspect.getsourcefile(_innermost(function)))
    return [Path(file) for file in dict.fromkeys(files) if file is not None]


def _place_and_reason(error: Exception) -> str:
    """Return `FILE, line N: ERROR` on one line."""
    reason = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if last.filename.startswith("<") else f"{last.filename}, line {last.lineno}: "
    return f"{place}{type(error).__name__}: {reason}"
