"""What an evaluation comes to, as objects; `verl_vip.evaluation.result_files` turns them into files and back.

All shares lie between 0 and 1, and every interval is over problems.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl_vip.json_lines import valid_text
from verl_vip.statistics.intervals import Estimate


@dataclass(frozen=True)
class Sample:
    """One response as it is kept; fields as in `samples.jsonl`."""

    problem: str
    sample: int
    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", valid_text(self.text))  # all that is made of it is written as UTF-8


@dataclass(frozen=True)
class EvaluatedModel:
    """Whose responses they are.

    Attributes:
        label: Its name in the results.
        origin: Where it was found.
        kind: "huggingface" or "fsdp"; None where it is not on record.
        step: Training step of a checkpoint.
        sha256: Hash of its content.
    """

    label: str
    origin: str
    kind: str | None
    step: int | None
    sha256: str


@dataclass(frozen=True)
class EvaluatedBenchmark:
    """What was asked: `sha256` is the hash of prompts, answers, sources and extra_info."""

    name: str
    origin: Mapping[str, Any]
    problems: int
    sha256: str


@dataclass(frozen=True)
class EvaluationManifest:
    """What the samples are.

    Attributes:
        model: Whose they are.
        benchmark: To which problems.
        sampling: The fields of `SamplingSettings`, as far as the version that sampled had them.
        versions: Of what sampled.
    """

    model: EvaluatedModel
    benchmark: EvaluatedBenchmark
    sampling: Mapping[str, Any]
    versions: Mapping[str, Any]


@dataclass(frozen=True)
class SourceScore:
    """The problems of one source: how many, and mean@n over them."""

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
    """Another verdict on each sample: the share that it finds right, and how many samples it judges differently."""

    correct: float
    disagreements: int


@dataclass(frozen=True)
class EvaluationMetrics:
    """How good one model is on one benchmark.

    Attributes:
        model: Its label.
        step: Its training step if it is a checkpoint.
        benchmark: The benchmark's name.
        benchmark_sha256: Hash of prompts, answers, sources and extra_info; None in earlier results.
        problems: How many.
        n: Samples of each.
        mean: mean@n, which estimates pass@1.
        pass_at_k: For k = 1, 2, 3, ... n.
        maj_at_k: For k = 1, 2, 4, ... n.
        sources: By source.
        unanswered: Share of samples that give no answer.
        truncated: Share of samples that were cut off at max_tokens.
        tokens: Of the responses.
        grader: What judged, in its own words.
        second_opinion: None where there was none.
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
        """Share of problems of which any sample is right."""
        return self.pass_at_k[self.n]

    @property
    def maj_at_n(self) -> Estimate:
        """Share of problems of which the most frequent answer of all samples is right, ties shared."""
        return self.maj_at_k[self.n]


@dataclass(frozen=True)
class ProblemScore:
    """One problem, as comparisons and pictures need it.

    Attributes:
        problem: Its id.
        n: Samples.
        mean: Share of right ones.
        majority: Share that the most frequent answer is right, ties shared.
        any_right: pass@n: 1 if any sample is right.
    """

    problem: str
    n: int
    mean: float
    majority: float
    any_right: float


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
        difference: With its 95% interval over problems.
        better: Problems on which the candidate scores higher.
        worse: Problems on which it scores lower.
        problems: All problems.
    """

    difference: Estimate
    better: int
    worse: int
    problems: int


@dataclass(frozen=True)
class TableComparison:
    """Two models on the same problems: mean@n, the majority of all samples and, with equal n, pass@n."""

    mean: PairedDifference
    maj: PairedDifference
    pass_at_n: PairedDifference | None


@dataclass(frozen=True)
class ModelComparison:
    """One model compared with the baseline.

    Attributes:
        baseline: Its label.
        candidate: The other's label.
        benchmark: Its name; None for all shared benchmarks together.
        scores: How they differ.
    """

    baseline: str
    candidate: str
    benchmark: str | None
    scores: TableComparison


@dataclass(frozen=True)
class SummarizedEvaluation:
    """One evaluation among others: its folder, relative to the output, and its metrics by the names used there."""

    folder: str
    metrics: EvaluationMetrics


@dataclass(frozen=True)
class EvaluationSummary:
    """All evaluations in a folder, and how the models differ.

    Attributes:
        baseline: Label of the model that the others are compared with.
        evaluations: Models and benchmarks in order.
        comparisons: Of each other model with the baseline, by benchmark and, where there are several, over all.
        left_out: A sentence on each evaluation that could not be read, and on what else is missing.
    """

    baseline: str
    evaluations: tuple[SummarizedEvaluation, ...]
    comparisons: tuple[ModelComparison, ...]
    left_out: tuple[str, ...]
