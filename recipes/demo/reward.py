"""The demo's reward: 1 for the exact answer, 0 otherwise. It imports nothing, because every worker loads it."""

from typing import Any


def compute_score(
    data_source: str,  # noqa: ARG001
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,  # noqa: ARG001
    **_: Any,
) -> float:
    """Return 1.0 if the response is the answer up to white space, otherwise 0.0.

    The signature is that of verl's custom reward functions. It returns a plain float, so that verl's validation
    metrics report it as `acc` only once.

    Args:
        data_source: The task family. All families are graded in the same way.
        solution_str: The decoded response, without special tokens.
        ground_truth: The answer.
        extra_info: Not used.
    """
    return float(solution_str.split() == ground_truth.split())
