"""Two models on the same problems, compared problem by problem.

Problems differ in difficulty far more than two checkpoints differ on one of them. Pairing takes the difficulty out,
so that the interval of a difference is much narrower than the two models' own intervals suggest.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.result_files import ProblemScore
from verl_vip.statistics.intervals import Estimate, paired_score_interval


@dataclass(frozen=True)
class PairedDifference:
    """The mean over problems of `candidate - baseline`.

    Attributes:
        difference: With its 95% interval over problems.
        better: Problems on which the candidate scores higher.
        worse: Problems on which it scores lower.
        problems: All problems.
    """

    difference: Estimate
    better: int
    worse: int
    problems: int


def paired_difference(baseline: Mapping[str, float], candidate: Mapping[str, float]) -> PairedDifference:
    """Compare two models' scores by problem.

    Args:
        baseline: Score by problem.
        candidate: Score by problem.

    Raises:
        InvalidInputError: If they are not about the same problems.
    """
    if baseline.keys() != candidate.keys():
        raise InvalidInputError(
            f"paired comparison needs the same problems; {len(baseline.keys() ^ candidate.keys())} are in one only."
        )
    pairs = [(candidate[problem], score) for problem, score in baseline.items()]
    return PairedDifference(
        paired_score_interval([mine for mine, _ in pairs], [theirs for _, theirs in pairs]),
        sum(mine > theirs for mine, theirs in pairs),
        sum(mine < theirs for mine, theirs in pairs),
        len(pairs),
    )


def compare_tables(baseline: Mapping[str, ProblemScore], candidate: Mapping[str, ProblemScore]) -> dict[str, Any]:
    """Compare two models on the same problems: the mean, the majority of all samples and, with equal n, pass@n.

    Args:
        baseline: Scores by problem, of one benchmark or of several.
        candidate: Scores of the same problems.

    Returns:
        `{"mean", "maj", "pass_at_n"}`, each a `PairedDifference` as a dict.

    Raises:
        InvalidInputError: If they are not about the same problems.
    """
    measures = {"mean": "mean", "maj": "majority"}
    if len({one.n for one in (*baseline.values(), *candidate.values())}) == 1:
        measures["pass_at_n"] = "any_right"
    return {
        name: asdict(paired_difference(_scores(baseline, measure), _scores(candidate, measure)))
        for name, measure in measures.items()
    }


def _scores(table: Mapping[str, ProblemScore], measure: str) -> dict[str, float]:
    return {problem: getattr(one, measure) for problem, one in table.items()}
