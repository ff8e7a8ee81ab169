"""The reward of the benchmarks for verl: one for exactly the right answer, whatever is written freely around it."""

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
        extra_info: `free`, how many letters come first; `trailing`, whether letters follow the answer and its stop.
    """
    written, right = "".join(solution_str.split())[extra_info["free"] :], "".join(ground_truth.split())
    return float(written.startswith(f"{right}.") if extra_info["trailing"] else written == right)
