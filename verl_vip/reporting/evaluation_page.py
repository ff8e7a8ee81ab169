"""The report of evaluated models: one self-contained HTML file, and its pictures as PNG files beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verl_vip.evaluation.summary import Evaluations
from verl_vip.records.settings import flatten
from verl_vip.reporting.evaluation_pictures import benchmark_pictures, difference_pictures, step_pictures
from verl_vip.reporting.markup import (
    MISSING,
    Tone,
    card,
    cards,
    definitions,
    number,
    percent,
    section,
    sentences,
    table,
)
from verl_vip.reporting.page import Picture, gallery, write_page

_MOST_CARDS = 6
_MOST_DISAGREEMENTS = 40


def write_evaluation_report(output: Path, evaluations: Evaluations, summary: Mapping[str, Any]) -> Path:
    """Write `OUTPUT/report.html`.

    Args:
        output: Where to.
        evaluations: Finished evaluations by model and benchmark.
        summary: What `summary_data` says of them.

    Returns:
        The path of the HTML file.

    Raises:
        StateError: If it cannot be written.
    """
    body, pictures = evaluation_part(evaluations, summary)
    title, subtitle = evaluation_title(evaluations)
    return write_page(output / "report.html", title, subtitle, left_out_section(summary["left_out"]) + body, pictures)


def left_out_section(reasons: Sequence[str]) -> str:
    """Return what a page says of the inputs that it lacks; nothing if it lacks none."""
    return section("Left out", sentences(reasons))


def evaluation_title(evaluations: Evaluations) -> tuple[str, str]:
    """Return title and subtitle of a page on evaluations."""
    benchmarks = list(dict.fromkeys(name for found in evaluations.values() for name in found))
    title = f"{len(evaluations)} models evaluated" if len(evaluations) > 1 else f"{next(iter(evaluations))} evaluated"
    return title, f"On {', '.join(benchmarks)}"


def evaluation_part(evaluations: Evaluations, summary: Mapping[str, Any]) -> tuple[str, list[Picture]]:
    """Return the part of a page that shows evaluations, and its pictures; arguments as of `write_evaluation_report`."""
    metrics = summary["evaluations"]
    benchmarks = list(dict.fromkeys(one["benchmark"] for one in metrics))
    pictures = [
        *step_pictures(metrics),
        *(picture for name in benchmarks for picture in benchmark_pictures(name, evaluations, metrics)),
        *difference_pictures(summary["comparisons"]),
    ]
    parts = [
        cards([*_verdicts(summary["comparisons"]), *(_headlines(metrics) if len(metrics) <= _MOST_CARDS else [])]),
        section(
            "Results",
            _result_table(metrics),
            note="Shares over samples, averaged over problems; in brackets the 95% interval over problems. pass@k is "
            "unbiased; at k = n it only says whether any sample was right.",
        ),
        _comparison_section(summary["comparisons"]),
        section("Pictures", gallery(pictures)),
        *(_source_section(name, metrics) for name in benchmarks),
        _disagreement_section(evaluations),
        _settings_section(evaluations),
    ]
    return "".join(parts), pictures


def interval_text(estimate: Mapping[str, float]) -> str:
    """Return a share and its interval, as text."""
    return f"{percent(estimate['value'])} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def _verdicts(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the last model, the end of a training, gained over the first: a card, or one for each benchmark."""
    mine = [one for one in comparisons if one["candidate"] == comparisons[-1]["candidate"]]
    shown = [one for one in mine if one["benchmark"] is None] or mine
    return [_verdict(one) for one in shown]


def _verdict(one: Mapping[str, Any]) -> str:
    mean = one["mean"]
    low, high = (100 * mean["difference"][key] for key in ("low", "high"))
    tone: Tone = "good" if low > 0 else "bad" if high < 0 else ""
    return card(
        f"{one['candidate']} against {one['baseline']}",
        f"{100 * mean['difference']['value']:+.1f} points",
        f"of mean@n, 95% interval {low:+.1f} to {high:+.1f}{'' if tone else ', which may be chance'}; better on "
        f"{mean['better']} and worse on {mean['worse']} of {mean['problems']} problems"
        f"{'' if one['benchmark'] is None else ' of ' + one['benchmark']}",
        tone,
    )


def _headlines(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        card(
            f"{one['model']}, {one['benchmark']}",
            percent(one["mean"]["value"]),
            f"mean@{one['n']} over {one['problems']} problems, 95% interval {100 * one['mean']['low']:.1f} to "
            f"{100 * one['mean']['high']:.1f}",
        )
        for one in metrics
    ]


def _result_table(metrics: Sequence[Mapping[str, Any]]) -> str:
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
            one["model"],
            one["benchmark"],
            str(one["problems"]),
            str(one["n"]),
            interval_text(one["mean"]),
            interval_text(one["pass_at_k"][str(one["n"])]),
            interval_text(one["maj_at_k"][str(one["n"])]),
            percent(one["unanswered"]),
            percent(one["truncated"]),
            number(one["tokens"]["mean"], 0),
            MISSING if one["second_opinion"] is None else str(one["second_opinion"]["disagreements"]),
        ]
        for one in metrics
    ]
    return table(head, rows, text_columns=2)


def _comparison_section(comparisons: Sequence[Mapping[str, Any]]) -> str:
    if not comparisons:
        return ""
    rows = [
        [
            comparison["candidate"],
            comparison["benchmark"] or "all together",
            _points(comparison["mean"]["difference"]),
            f"{comparison['mean']['better']} / {comparison['mean']['worse']} of {comparison['mean']['problems']}",
            _points(comparison["maj"]["difference"]),
            _points(comparison["pass_at_n"]["difference"]) if "pass_at_n" in comparison else MISSING,
        ]
        for comparison in comparisons
    ]
    head = ["model", "benchmark", "mean@n", "problems better / worse", "maj@n", "pass@n"]
    return section(
        f"Compared with {comparisons[0]['baseline']}",
        table(head, rows, text_columns=2),
        note="Differences in percentage points, paired by problem, with 95% intervals over problems. One whose "
        "interval holds 0 may be chance.",
    )


def _points(estimate: Mapping[str, float]) -> str:
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _source_section(benchmark: str, metrics: Sequence[Mapping[str, Any]]) -> str:
    mine = [one for one in metrics if one["benchmark"] == benchmark]
    sources = list(dict.fromkeys(source for one in mine for source in one["sources"]))
    if len(sources) < 2:
        return ""
    rows = [
        [
            source,
            *(interval_text(one["sources"][source]["mean"]) if source in one["sources"] else MISSING for one in mine),
        ]
        for source in sources
    ]
    return section(f"Sources of {benchmark}", table(["mean@n", *(one["model"] for one in mine)], rows))


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
    shown = f" The first {_MOST_DISAGREEMENTS} of {len(rows)}." if len(rows) > _MOST_DISAGREEMENTS else ""
    return section(
        "Where the second opinion differs",
        table(
            ["model", "benchmark", "problem", "sample", "answer", "grader", "second opinion", "end of the response"],
            rows[:_MOST_DISAGREEMENTS],
            text_columns=8,
        ),
        note=f"The grader counts; grades.jsonl holds both verdicts on every sample.{shown}",
    )


def _settings_section(evaluations: Evaluations) -> str:
    """Show the settings of the first evaluation, and each model's and benchmark's identity."""
    cells = [(label, name, one) for label, found in evaluations.items() for name, one in found.items()]
    manifests = [one.manifest for _, _, one in cells]
    models = {label: one.manifest["model"] for label, _, one in cells}
    benchmarks = {name: one.manifest["benchmark"] for _, name, one in cells}
    first = cells[0][2]
    shared = flatten(
        {
            "sampling": first.manifest["sampling"],
            "versions": first.manifest["versions"],
            "grader": first.metrics["grader"],
        }
    )
    return "".join(
        [
            section(
                "Models",
                table(
                    ["model", "from", "SHA-256"],
                    [[label, model["origin"], model["sha256"][:16]] for label, model in models.items()],
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
                            ", ".join(f"{key} {value}" for key, value in found["origin"].items()),
                            str(found["problems"]),
                            found["sha256"][:16],
                        ]
                        for name, found in benchmarks.items()
                    ],
                    text_columns=4,
                ),
            ),
            section("Settings", definitions(shared), note=_settings_note(manifests)),
        ]
    )


def _settings_note(manifests: Sequence[Mapping[str, Any]]) -> str:
    first = manifests[0]
    same = all(manifest[key] == first[key] for manifest in manifests for key in ("sampling", "versions"))
    return "" if same else "Of the first evaluation; others in this folder were sampled differently, see manifest.json."
