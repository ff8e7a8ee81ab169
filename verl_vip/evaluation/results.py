"""The results of evaluations as objects; `verl_vip.evaluation.result_files` writes them to files and reads them.

All shares are between 0 and 1, and every interval is over problems.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl_vip.json_lines import valid_text
from verl_vip.statistics.intervals import Estimate


@dataclass(frozen=True)
class Sample:
    """One stored response; the fields are those of `samples.jsonl`."""

    problem: str
    sample: int
    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", valid_text(self.text))  # everything derived from the text is written as UTF-8


@dataclass(frozen=True)
class EvaluatedModel:
    """The model that was sampled.

    Attributes:
        label: The name of the model in the results.
        origin: The source of the model.
        kind: "huggingface" or "fsdp"; None if it was not recorded.
        step: Training step of a checkpoint.
        sha256: Hash of the model's content.
    """

    label: str
    origin: str
    kind: str | None
    step: int | None
    sha256: str


@dataclass(frozen=True)
class EvaluatedBenchmark:
    """The benchmark of the samples; `sha256` is the hash of prompts, answers, sources and extra_info."""

    name: str
    origin: Mapping[str, Any]
    problems: int
    sha256: str


@dataclass(frozen=True)
class EvaluationManifest:
    """The description of the samples of an evaluation.

    Attributes:
        model: The model that was sampled.
        benchmark: The benchmark.
        sampling: The fields of `SamplingSettings` in the version that sampled.
        versions: The package versions of the sampler.
    """

    model: EvaluatedModel
    benchmark: EvaluatedBenchmark
    sampling: Mapping[str, Any]
    versions: Mapping[str, Any]


@dataclass(frozen=True)
class SourceScore:
    """The number of problems of one source, and mean@n over them."""

    problems: int
    mean: Estimate


@dataclass(frozen=True)
class TokenCounts:
    """Response tokens: the mean, the median and the maximum over responses, and the sum."""

    mean: float
    median: float
    max: float
    total: float


@dataclass(frozen=True)
class SecondOpinion:
    """A second grade of each sample: the share of correct samples, and the number of samples judged differently."""

    correct: float
    disagreements: int


@dataclass(frozen=True)
class EvaluationMetrics:
    """The metrics of one model on one benchmark.

    Attributes:
        model: The label of the model.
        step: The training step of a checkpoint.
        benchmark: The name of the benchmark.
        benchmark_sha256: Hash of prompts, answers, sources and extra_info; None in older results.
        problems: Number of problems.
        n: Number of samples of each problem.
        mean: mean@n, which estimates pass@1.
        pass_at_k: pass@k for k = 1, 2, 3, ... n.
        maj_at_k: maj@k for k = 1, 2, 4, ... n.
        sources: Scores by source.
        unanswered: Share of samples without an answer.
        truncated: Share of samples that were cut off at max_tokens.
        tokens: Token counts of the responses.
        grader: The grader's description of itself.
        second_opinion: Result of the second opinion; None without one.
    """

    model: str
    step: int | None
    benchmark: str
    benchmark_sha256: str | None
    problems: int
    n: int
    mean: Estimate
    pass_at_k: Mapping[int, Estimate]
    maj_at_k: Mapping[int, Estimate]
    sources: Mapping[str, SourceScore]
    unanswered: float
    truncated: float
    tokens: TokenCounts
    grader: Mapping[str, Any]
    second_opinion: SecondOpinion | None

    @property
    def pass_at_n(self) -> Estimate:
        """Share of problems with a correct sample."""
        return self.pass_at_k[self.n]

    @property
    def maj_at_n(self) -> Estimate:
        """Share of problems whose most frequent answer over all samples is correct, with ties shared."""
        return self.maj_at_k[self.n]


@dataclass(frozen=True)
class ProblemScore:
    """The scores of one problem, for comparisons and pictures.

    Attributes:
        problem: The id of the problem.
        n: Number of samples.
        mean: Share of correct samples.
        majority: maj@n: 1 if the most frequent answer is correct, with ties shared.
        any_right: pass@n: 1 if any sample is correct.
        source: The data source of the problem; empty if the table lacks it.
    """

    problem: str
    n: int
    mean: float
    majority: float
    any_right: float
    source: str = ""


@dataclass(frozen=True)
class Dispute:
    """One response that the grader and the second opinion judge differently; `ending` is the end of its text."""

    problem: str
    sample: int
    answer: str | None
    correct: bool
    second: bool
    ending: str = ""


@dataclass(frozen=True)
class PairedDifference:
    """The mean over problems of `candidate - baseline`.

    Attributes:
        difference: The mean difference with its 95% interval over problems.
        better: Number of problems on which the candidate scores higher.
        worse: Number of problems on which it scores lower.
        problems: Number of all problems.
    """

    difference: Estimate
    better: int
    worse: int
    problems: int


@dataclass(frozen=True)
class TableComparison:
    """The comparison of two models on the same problems: mean@n, maj@n and, with equal n, pass@n."""

    mean: PairedDifference
    maj: PairedDifference
    pass_at_n: PairedDifference | None


@dataclass(frozen=True)
class ModelComparison:
    """One model compared with the baseline.

    Attributes:
        baseline: The label of the baseline.
        candidate: The label of the other model.
        benchmark: The name of the benchmark; None for all shared benchmarks together.
        scores: The differences of their scores.
    """

    baseline: str
    candidate: str
    benchmark: str | None
    scores: TableComparison


@dataclass(frozen=True)
class SummarizedEvaluation:
    """One evaluation in a summary: its folder, relative to the output, and its metrics with the names used there."""

    folder: str
    metrics: EvaluationMetrics


@dataclass(frozen=True)
class EvaluationSummary:
    """All evaluations in a folder, and the comparisons of their models.

    Attributes:
        baseline: The label of the model that the others are compared with.
        evaluations: The evaluations, ordered by model and benchmark.
        comparisons: The comparisons of each other model with the baseline, by benchmark and, with several benchmarks,
            over all of them.
        left_out: A sentence on each evaluation that could not be read, and on other missing data.
    """

    baseline: str
    evaluations: tuple[SummarizedEvaluation, ...]
    comparisons: tuple[ModelComparison, ...]
    left_out: tuple[str, ...]
