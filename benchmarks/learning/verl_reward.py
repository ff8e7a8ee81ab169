"""The benches' reward function for verl: 1 for exactly the right answer, whatever the free letters are."""

from typing import Any


def compute_score(
    data_source: str,  # noqa: ARG001
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any],
    **_: Any,
) -> float:
    """Return 1.0 or 0.0; see `verl_vip.recipes.demo.reward` for verl's arguments.

    Args:
        data_source: The task family. All families are graded in the same way.
        solution_str: The decoded response, without special tokens.
        ground_truth: The answer.
        extra_info: `free`, the number of letters before the answer; `trailing`, whether letters follow its stop.
    """
    written, right = "".join(solution_str.split())[extra_info["free"] :], "".join(ground_truth.split())
    return float(written.startswith(f"{right}.") if extra_info["trailing"] else written == right)
