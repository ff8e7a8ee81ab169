"""Two models on the same problems, compared problem by problem.

Problems differ in difficulty far more than two checkpoints differ on one of them. Pairing takes the difficulty out,
so that the interval of a difference is much narrower than the two models' own intervals suggest.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.result_files import ProblemScore
from verl_vip.statistics.intervals import Estimate, mean_interval


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

    The interval is Student's. Where no problem differs it would have no width, though unseen problems may differ: then
    it reaches as far as a share of problems that would be missed among these with 2.5% probability (rule of three).

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
    differences = [candidate[problem] - baseline[problem] for problem in baseline]
    difference = mean_interval(differences)
    if not any(differences):
        missed = 1 - 0.025 ** (1 / len(differences))
        difference = Estimate(0.0, -missed, missed)
    return PairedDifference(
        difference,
        sum(difference > 0 for difference in differences),
        sum(difference < 0 for difference in differences),
        len(differences),
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
