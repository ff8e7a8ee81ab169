"""A symbol or behaviour of another package that verl-vip relies on, and ways to check it."""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reliance:
    """One symbol that verl-vip relies on.

    Attributes:
        symbol: The dotted module and, after a colon, the attribute path in it.
        why: What verl-vip uses it for.
        holds: Takes the symbol and returns whether it behaves as needed.
    """

    symbol: str
    why: str
    holds: Callable[[Any], bool] = lambda _: True

    def problem(self) -> str | None:
        """Return what is wrong, in one sentence, or None."""
        module_name, _, path = self.symbol.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
            for name in filter(None, path.split(".")):
                found = getattr(found, name)
        except (ImportError, AttributeError) as error:
            return f"{self.symbol} is missing ({error}); {self.why}."
        return None if self.holds(found) else f"{self.symbol} changed; {self.why}."


def takes(*names: str) -> Callable[[Any], bool]:
    """Check that the callable accepts these arguments by name."""

    def check(found: Any) -> bool:
        parameters = inspect.signature(found).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        return open_ended or all(name in parameters for name in names)

    return check


def source_has(*fragments: str) -> Callable[[Any], bool]:
    """Check that the source, without comments, contains these expressions."""

    def check(found: Any) -> bool:
        code = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(found))))
        return all(fragment in code for fragment in fragments)

    return check


def in_order(*fragments: str) -> Callable[[Any], bool]:
    """Check that the source contains these fragments, in this order."""

    def check(found: Any) -> bool:
        source, position = inspect.getsource(found), 0
        for fragment in fragments:
            position = source.find(fragment, position)
            if position < 0:
                return False
        return True

    return check


def remote_method_has(method: str, *fragments: str) -> Callable[[Any], bool]:
    """Check that the method of a Ray actor class contains these expressions."""

    def check(found: Any) -> bool:
        return source_has(*fragments)(getattr(found.__ray_metadata__.modified_class, method))

    return check
