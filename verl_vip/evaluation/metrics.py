"""Computes the metrics of a benchmark and the table of problems from graded samples; `results` defines the metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from tqdm import tqdm

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.benchmarks import Benchmark, Problem
from verl_vip.evaluation.estimators import Vote, majority_at_k, pass_at_k
from verl_vip.evaluation.grading import Grade, Grader
from verl_vip.evaluation.results import (
    EvaluatedModel,
    EvaluationMetrics,
    Sample,
    SecondOpinion,
    SourceScore,
    TokenCounts,
)
from verl_vip.statistics.intervals import score_interval

#: The most characters of a cell. Without an answer from the grader, the whole response is the answer, and CSV readers
#: accept 131,072 characters.
_MOST_CHARACTERS = 1000


@dataclass(frozen=True)
class Graded:
    """One sample with its grade."""

    sample: Sample
    grade: Grade

    @property
    def truncated(self) -> bool:
        """Whether the response was cut off."""
        return self.sample.finish_reason == "length"

    @property
    def disputed(self) -> bool:
        """Whether the second opinion differs from the grade."""
        return self.grade.second is not None and self.grade.second != self.grade.correct


@dataclass(frozen=True)
class ProblemRow:
    """A row of the table of problems.

    Attributes:
        problem: The id of the problem.
        source: The data source.
        n: Number of samples.
        correct: Number of correct samples.
        pass_at_k: pass@k for k = 1, 2, 4, ... n.
        majority: The most frequent answer, cut off after 1,000 characters; empty if there is none.
        majority_correct: maj@n: 1 if the most frequent answer of all samples is correct, with ties shared.
        unanswered: Number of samples without an answer.
        truncated: Number of samples that were cut off.
        tokens: Mean number of tokens of a response.
        disagreements: Number of samples that the second opinion judges differently.
    """

    problem: str
    source: str
    n: int
    correct: int
    pass_at_k: Mapping[int, float]
    majority: str
    majority_correct: float
    unanswered: int
    truncated: int
    tokens: float
    disagreements: int


def grade_samples(benchmark: Benchmark, samples: Sequence[Sample], grader: Grader) -> dict[str, list[Graded]]:
    """Grade all samples of a benchmark.

    Returns:
        The graded samples by problem id, with problems and samples in order.

    Raises:
        InvalidInputError: If problems have unequal numbers of samples, or no samples.
    """
    problems = {problem.id: problem for problem in benchmark.problems}
    graded: dict[str, list[Graded]] = {key: [] for key in problems}
    ordered = sorted(samples, key=lambda sample: sample.sample)
    for sample in tqdm(ordered, desc=f"grading {benchmark.name}", unit=" samples", mininterval=1, leave=False):
        graded[sample.problem].append(Graded(sample, grader.grade(sample.text, problems[sample.problem])))
    counts = {len(group) for group in graded.values()}
    if len(counts) != 1 or counts == {0}:
        raise InvalidInputError(
            f"{benchmark.name}: the problems have {sorted(counts)} samples; every problem must have the same number."
        )
    return graded


def powers(n: int) -> list[int]:
    """Return 1, 2, 4, ... and n."""
    return [*(2**e for e in range(n.bit_length()) if 2**e < n), n]


def problem_rows(benchmark: Benchmark, graded: Mapping[str, Sequence[Graded]]) -> list[ProblemRow]:
    """Return the table of problems."""
    return [_row(problem, graded[problem.id]) for problem in benchmark.problems]


def summarize(
    benchmark: Benchmark,
    graded: Mapping[str, Sequence[Graded]],
    model: EvaluatedModel,
    grader: Mapping[str, Any],
) -> EvaluationMetrics:
    """Return the metrics.

    Args:
        benchmark: The problems.
        graded: Their graded samples, with the same number for each problem.
        model: The model that was sampled.
        grader: The description of the grader.
    """
    groups = [graded[problem.id] for problem in benchmark.problems]
    n = len(groups[0])
    right = [sum(one.grade.correct for one in group) for group in groups]
    flat = [one for group in groups for one in group]
    tokens = [one.sample.tokens for one in flat]
    return EvaluationMetrics(
        model=model.label,
        step=model.step,
        benchmark=benchmark.name,
        benchmark_sha256=benchmark.sha256,
        problems=len(groups),
        n=n,
        mean=score_interval([count / n for count in right]),
        pass_at_k={k: score_interval([pass_at_k(n, count, k) for count in right]) for k in range(1, n + 1)},
        maj_at_k={k: score_interval([majority_at_k(votes(group), k) for group in groups]) for k in powers(n)},
        sources=_by_source(benchmark, right, n),
        unanswered=fmean(one.grade.answer is None for one in flat),
        truncated=fmean(one.truncated for one in flat),
        tokens=TokenCounts(fmean(tokens), median(tokens), max(tokens), sum(tokens)),
        grader=dict(grader),
        second_opinion=_second_opinion(flat),
    )


def votes(group: Sequence[Graded]) -> list[Vote]:
    """Return the votes of a problem's samples."""
    return [Vote(one.grade.answer, one.grade.correct) for one in group]


def _row(problem: Problem, group: Sequence[Graded]) -> ProblemRow:
    n, right = len(group), sum(one.grade.correct for one in group)
    answers = Counter(one.grade.answer for one in group if one.grade.answer is not None)
    return ProblemRow(
        problem=problem.id,
        source=problem.source[:_MOST_CHARACTERS],
        n=n,
        correct=right,
        pass_at_k={k: pass_at_k(n, right, k) for k in powers(n)},
        majority=answers.most_common(1)[0][0][:_MOST_CHARACTERS] if answers else "",
        majority_correct=majority_at_k(votes(group), n),
        unanswered=sum(one.grade.answer is None for one in group),
        truncated=sum(one.truncated for one in group),
        tokens=fmean(one.sample.tokens for one in group),
        disagreements=sum(one.disputed for one in group),
    )


def _by_source(benchmark: Benchmark, right: Sequence[int], n: int) -> dict[str, SourceScore]:
    scores: dict[str, list[float]] = {}
    for problem, count in zip(benchmark.problems, right, strict=True):
        scores.setdefault(problem.source, []).append(count / n)
    return {source: SourceScore(len(values), score_interval(values)) for source, values in sorted(scores.items())}


def _second_opinion(flat: Sequence[Graded]) -> SecondOpinion | None:
    opinions = [one.grade.second for one in flat]
    if any(opinion is None for opinion in opinions):
        return None
    return SecondOpinion(fmean(map(bool, opinions)), sum(one.disputed for one in flat))
