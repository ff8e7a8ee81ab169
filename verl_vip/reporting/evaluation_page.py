"""The report on evaluated models: one self-contained HTML file, with its pictures also as PNG files."""

from collections.abc import Sequence
from pathlib import Path

from verl_vip.evaluation.results import (
    EvaluationManifest,
    EvaluationMetrics,
    EvaluationSummary,
    ModelComparison,
    PairedDifference,
)
from verl_vip.evaluation.summary import Evaluations
from verl_vip.records.settings import flatten
from verl_vip.reporting.evaluation_pictures import benchmark_pictures, difference_pictures, step_pictures
from verl_vip.reporting.markup import (
    MISSING,
    card,
    cards,
    definitions,
    number,
    percent,
    section,
    sentences,
    table,
    tone_of,
)
from verl_vip.reporting.page import Picture, gallery, write_page

_MOST_CARDS = 6
_MOST_DISAGREEMENTS = 40


def write_evaluation_report(output: Path, evaluations: Evaluations, summary: EvaluationSummary) -> Path:
    """Write `OUTPUT/report.html`.

    Args:
        output: The output folder.
        evaluations: Finished evaluations, by model and benchmark.
        summary: Their summary from `make_summary`.

    Returns:
        The path of the HTML file.

    Raises:
        StateError: If the report cannot be written.
    """
    body, pictures = evaluation_part(evaluations, summary)
    title, subtitle = evaluation_title(evaluations)
    return write_page(output / "report.html", title, subtitle, left_out_section(summary.left_out) + body, pictures)


def left_out_section(reasons: Sequence[str]) -> str:
    """Return a section on the inputs that the page leaves out; an empty string if there are none."""
    return section("Left out", sentences(reasons))


def evaluation_title(evaluations: Evaluations) -> tuple[str, str]:
    """Return the title and subtitle of a page on evaluations."""
    benchmarks = list(dict.fromkeys(name for found in evaluations.values() for name in found))
    title = f"{len(evaluations)} models evaluated" if len(evaluations) > 1 else f"{next(iter(evaluations))} evaluated"
    return title, f"On {', '.join(benchmarks)}"


def evaluation_part(evaluations: Evaluations, summary: EvaluationSummary) -> tuple[str, list[Picture]]:
    """Return the part of a page on evaluations, and its pictures; for the arguments see `write_evaluation_report`."""
    metrics = [one.metrics for one in summary.evaluations]
    benchmarks = list(dict.fromkeys(one.benchmark for one in metrics))
    pictures = [
        *step_pictures(metrics),
        *(picture for name in benchmarks for picture in benchmark_pictures(name, evaluations, metrics)),
        *difference_pictures(summary.comparisons),
    ]
    parts = [
        cards([*_verdicts(summary.comparisons), *(_headlines(metrics) if len(metrics) <= _MOST_CARDS else [])]),
        section(
            "Results",
            _result_table(metrics),
            note="Shares over samples, averaged over problems; in brackets the 95% interval over problems. pass@k is "
            "unbiased; at k = n it only says whether any sample was right.",
        ),
        _comparison_section(summary.comparisons),
        section("Pictures", gallery(pictures)),
        *(_source_section(name, metrics) for name in benchmarks),
        _disagreement_section(evaluations),
        _settings_section(evaluations),
    ]
    return "".join(parts), pictures


def _verdicts(comparisons: Sequence[ModelComparison]) -> list[str]:
    """Return cards with the gain of the last model, usually the end of training, over the first on each benchmark."""
    mine = [one for one in comparisons if one.candidate == comparisons[-1].candidate]
    shown = [one for one in mine if one.benchmark is None] or mine
    return [_verdict(one) for one in shown]


def _verdict(one: ModelComparison) -> str:
    mean = one.scores.mean
    points, tone = mean.difference.scaled(100), tone_of(mean.difference)
    return card(
        f"{one.candidate} against {one.baseline}",
        f"{points.value:+.1f} points",
        f"of mean@n, 95% interval {points.low:+.1f} to {points.high:+.1f}{'' if tone else ', which may be chance'}; "
        f"better on {mean.better} and worse on {mean.worse} of {mean.problems} problems"
        f"{'' if one.benchmark is None else ' of ' + one.benchmark}",
        tone,
    )


def _headlines(metrics: Sequence[EvaluationMetrics]) -> list[str]:
    return [
        card(
            f"{one.model}, {one.benchmark}",
            percent(one.mean.value),
            f"mean@{one.n} over {one.problems} problems, 95% interval {100 * one.mean.low:.1f} to "
            f"{100 * one.mean.high:.1f}",
        )
        for one in metrics
    ]


def _result_table(metrics: Sequence[EvaluationMetrics]) -> str:
    head = [
        "model",
        "benchmark",
        "problems",
        "n",
        "mean@n",
        "pass@n",
        "maj@n",
        "no answer",
        "cut off",
        "tokens a response",
        "disputed",
    ]
    rows = [
        [
            one.model,
            one.benchmark,
            str(one.problems),
            str(one.n),
            f"{one.mean:.1%}",
            f"{one.pass_at_n:.1%}",
            f"{one.maj_at_n:.1%}",
            percent(one.unanswered),
            percent(one.truncated),
            number(one.tokens.mean, 0),
            MISSING if one.second_opinion is None else str(one.second_opinion.disagreements),
        ]
        for one in metrics
    ]
    return table(head, rows, text_columns=2)


def _comparison_section(comparisons: Sequence[ModelComparison]) -> str:
    if not comparisons:
        return ""
    rows = [
        [
            one.candidate,
            one.benchmark or "all together",
            _points(one.scores.mean),
            f"{one.scores.mean.better} / {one.scores.mean.worse} of {one.scores.mean.problems}",
            _points(one.scores.maj),
            _points(one.scores.pass_at_n),
        ]
        for one in comparisons
    ]
    head = ["model", "benchmark", "mean@n", "problems better / worse", "maj@n", "pass@n"]
    return section(
        f"Compared with {comparisons[0].baseline}",
        table(head, rows, text_columns=2),
        note="Differences in percentage points, paired by problem, with 95% intervals over problems. One whose "
        "interval holds 0 may be chance.",
    )


def _points(paired: PairedDifference | None) -> str:
    return MISSING if paired is None else f"{paired.difference.scaled(100):+.1f}"


def _source_section(benchmark: str, metrics: Sequence[EvaluationMetrics]) -> str:
    mine = [one for one in metrics if one.benchmark == benchmark]
    sources = list(dict.fromkeys(source for one in mine for source in one.sources))
    if len(sources) < 2:
        return ""
    rows = [
        [source, *(f"{one.sources[source].mean:.1%}" if source in one.sources else MISSING for one in mine)]
        for source in sources
    ]
    return section(f"Sources of {benchmark}", table(["mean@n", *(one.model for one in mine)], rows))


def _disagreement_section(evaluations: Evaluations) -> str:
    """List responses that the grader and the second opinion judge differently."""
    words = {True: "right", False: "wrong"}
    rows = [
        [
            label,
            benchmark,
            one.problem,
            str(one.sample),
            one.answer or MISSING,
            words[one.correct],
            words[one.second],
            one.ending,
        ]
        for label, found in evaluations.items()
        for benchmark, evaluation in found.items()
        for one in evaluation.disputes
    ]
    if not rows:
        return ""
    shown = f" Shown are the first {_MOST_DISAGREEMENTS} of {len(rows)}." if len(rows) > _MOST_DISAGREEMENTS else ""
    return section(
        "Where the second opinion differs",
        table(
            ["model", "benchmark", "problem", "sample", "answer", "grader", "second opinion", "end of the response"],
            rows[:_MOST_DISAGREEMENTS],
            text_columns=8,
        ),
        note=f"The scores use the grader's verdict; grades.jsonl holds both verdicts for every sample.{shown}",
    )


def _settings_section(evaluations: Evaluations) -> str:
    """Show the settings of the first evaluation, and the identity of each model and benchmark."""
    cells = [(label, name, one) for label, found in evaluations.items() for name, one in found.items()]
    manifests = [one.manifest for _, _, one in cells]
    models = {label: one.manifest.model for label, _, one in cells}
    benchmarks = {name: one.manifest.benchmark for _, name, one in cells}
    first = cells[0][2]
    shared = flatten(
        {"sampling": manifests[0].sampling, "versions": manifests[0].versions, "grader": first.metrics.grader}
    )
    return "".join(
        [
            section(
                "Models",
                table(
                    ["model", "from", "SHA-256"],
                    [[label, model.origin, model.sha256[:16]] for label, model in models.items()],
                    text_columns=3,
                ),
            ),
            section(
                "Benchmarks",
                table(
                    ["benchmark", "from", "problems", "SHA-256"],
                    [
                        [
                            name,
                            ", ".join(f"{key} {value}" for key, value in found.origin.items()),
                            str(found.problems),
                            found.sha256[:16],
                        ]
                        for name, found in benchmarks.items()
                    ],
                    text_columns=4,
                ),
            ),
            section("Settings", definitions(shared), note=_settings_note(manifests)),
        ]
    )


def _settings_note(manifests: Sequence[EvaluationManifest]) -> str:
    first = manifests[0]
    same = all((one.sampling, one.versions) == (first.sampling, first.versions) for one in manifests)
    return "" if same else "Of the first evaluation; others in this folder were sampled differently, see manifest.json."
