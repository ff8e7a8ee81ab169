"""Markdown of figures: tables, shares in percent, estimates with their intervals."""

from typing import Any


def percent(value: float, digits: int = 0) -> str:
    """Return a share in percent."""
    return f"{_hundredths(value, digits)}\N{NO-BREAK SPACE}%"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table after a blank line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def estimated_value(estimate: Any, digits: int = 1) -> str:
    """Return a share in percent, without its interval."""
    return percent(estimate["value"], digits)


def estimated(estimate: Any, digits: int = 1) -> str:
    """Return a share with its interval over prompts."""
    low, high = (_hundredths(limit, digits) for limit in estimate["interval"])
    return f"{estimated_value(estimate, digits)} [{low},\N{NO-BREAK SPACE}{high}]"


def _hundredths(value: float, digits: int) -> str:
    # Adding zero turns -0 into 0.
    return f"{round(100 * value, digits) + 0.0:.{digits}f}"
