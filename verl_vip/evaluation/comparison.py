"""Paired comparison of two models on the same problems.

The difficulty varies much more between problems than the scores of two checkpoints differ on one problem. Pairing
removes the difficulty, so that the interval of a difference is much narrower than the two models' own intervals
suggest.
"""

from collections.abc import Callable, Mapping

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.results import PairedDifference, ProblemScore, TableComparison
from verl_vip.statistics.intervals import paired_score_interval


def paired_difference(baseline: Mapping[str, float], candidate: Mapping[str, float]) -> PairedDifference:
    """Compare two models' scores by problem.

    Args:
        baseline: The baseline's scores, by problem.
        candidate: The candidate's scores, by problem.

    Raises:
        InvalidInputError: If the two have different problems.
    """
    if baseline.keys() != candidate.keys():
        raise InvalidInputError(
            "a paired comparison needs the same problems on both sides, but "
            f"{len(baseline.keys() ^ candidate.keys())} are on one side only; evaluate both on the same problems."
        )
    pairs = [(candidate[problem], score) for problem, score in baseline.items()]
    return PairedDifference(
        paired_score_interval([mine for mine, _ in pairs], [theirs for _, theirs in pairs]),
        sum(mine > theirs for mine, theirs in pairs),
        sum(mine < theirs for mine, theirs in pairs),
        len(pairs),
    )


def compare_tables(baseline: Mapping[str, ProblemScore], candidate: Mapping[str, ProblemScore]) -> TableComparison:
    """Compare two models on the same problems; pass@n is compared only if all problems have the same n.

    Args:
        baseline: The baseline's scores by problem, of one or more benchmarks.
        candidate: The candidate's scores of the same problems.

    Raises:
        InvalidInputError: If the two have different problems.
    """

    def compare(score: Callable[[ProblemScore], float]) -> PairedDifference:
        ours, theirs = ({problem: score(one) for problem, one in table.items()} for table in (baseline, candidate))
        return paired_difference(ours, theirs)

    same_n = len({one.n for one in (*baseline.values(), *candidate.values())}) == 1
    return TableComparison(
        mean=compare(lambda one: one.mean),
        maj=compare(lambda one: one.majority),
        pass_at_n=compare(lambda one: one.any_right) if same_n else None,
    )
