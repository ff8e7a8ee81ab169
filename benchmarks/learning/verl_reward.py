"""The reward of both benchmarks for verl: one for exactly the right answer after the letters of free choice."""

from typing import Any


def compute_score(
    data_source: str,  # noqa: ARG001
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any],
    **_: Any,
) -> float:
    """Return 1.0 or 0.0; see `verl_vip.recipes.demo.reward` for what verl hands over.

    Args:
        data_source: The task family; every family is graded alike.
        solution_str: The decoded response, without special tokens.
        ground_truth: The answer.
        extra_info: `free`, how many letters come first.
    """
    return float("".join(solution_str.split())[extra_info["free"] :] == "".join(ground_truth.split()))
