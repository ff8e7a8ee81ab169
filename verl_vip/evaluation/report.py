"""The report of evaluated models: one self-contained HTML file, and its pictures as PNG files beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verl_vip.evaluation.folder import ResultFolder
from verl_vip.evaluation.plots import (
    MOST_BANDS,
    MOST_LINES,
    plot_differences,
    plot_pass_at_k,
    plot_problem_accuracy,
    plot_steps,
)
from verl_vip.evaluation.summary import Evaluations
from verl_vip.reporting.markup import (
    MISSING,
    Tone,
    card,
    cards,
    definitions,
    flatten,
    number,
    percent,
    section,
    table,
)
from verl_vip.reporting.page import Picture, gallery, write_page
from verl_vip.reporting.style import draw

_MOST_CARDS = 6
_MOST_DISAGREEMENTS = 40
_MOST_DIFFERENCES = 9
_EXCERPT = 120


def write_evaluation_report(output: Path, evaluations: Evaluations, summary: Mapping[str, Any]) -> Path:
    """Write `OUTPUT/report.html`.

    Args:
        output: Where to.
        evaluations: Finished evaluations by model and benchmark.
        summary: What `summary_data` says of them.

    Returns:
        The path of the HTML file.
    """
    body, pictures = evaluation_part(evaluations, summary)
    title, subtitle = evaluation_title(evaluations)
    return write_page(output / "report.html", title, subtitle, body, pictures)


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
        *_step_pictures(metrics),
        *(picture for name in benchmarks for picture in _benchmark_pictures(name, evaluations, metrics)),
        *_difference_pictures(summary["comparisons"]),
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


def _step_pictures(metrics: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """One picture for each run of which several steps were evaluated."""
    runs: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for one in metrics:
        if one["step"] is not None:
            run = one["model"].removesuffix(f"-step{one['step']}")
            runs.setdefault(run, {}).setdefault(one["benchmark"], []).append(one)
    return [
        Picture(
            f"steps_{index}",
            f"{run} over training",
            "mean@n of its checkpoints, with 95% intervals over problems.",
            draw(
                plot_steps,
                {name: sorted(found, key=lambda one: one["step"]) for name, found in benchmarks.items()},
                height=3.4,
            ),
        )
        for index, (run, benchmarks) in enumerate(runs.items())
        if any(len(found) > 1 for found in benchmarks.values())
    ]


def _benchmark_pictures(name: str, evaluations: Evaluations, metrics: Sequence[Mapping[str, Any]]) -> list[Picture]:
    mine = [one for one in metrics if one["benchmark"] == name]
    tables = {label: found[name].problems() for label, found in evaluations.items() if name in found}
    bands = " with 95% bands" if len(mine) <= MOST_BANDS else "; the table has intervals"
    rest = f" Of {len(mine)} models {MOST_LINES} are drawn; the table has all." if len(mine) > MOST_LINES else ""
    return [
        Picture(
            f"pass_at_k_{name}",
            f"pass@k on {name}",
            f"Unbiased estimates, means over problems{bands}.{rest}",
            draw(plot_pass_at_k, mine, height=3.4),
        ),
        Picture(
            f"problems_{name}",
            f"The problems of {name}",
            f"Share of right samples of each problem.{rest}",
            draw(plot_problem_accuracy, tables, height=3.4),
        ),
    ]


def _difference_pictures(comparisons: Sequence[Mapping[str, Any]]) -> list[Picture]:
    shown = comparisons
    if len(comparisons) > _MOST_DIFFERENCES:
        shown = [one for one in comparisons if one["benchmark"] is None] or comparisons
        shown = shown[-_MOST_DIFFERENCES:]
    if not shown:
        return []
    rest = (
        f" {len(shown)} of {len(comparisons)} comparisons are drawn; the table has all."
        if len(shown) < len(comparisons)
        else ""
    )
    return [
        Picture(
            "differences",
            "Paired differences",
            f"Blue where the 95% interval leaves out 0.{rest}",
            draw(plot_differences, shown, height=1.2 + 0.42 * len(shown)),
        )
    ]


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
    rows = []
    for label, benchmarks in evaluations.items():
        for name, folder in benchmarks.items():
            if (folder.metrics()["second_opinion"] or {}).get("disagreements"):
                rows += [[label, name, *row] for row in _disputed(folder)]
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


def _disputed(folder: ResultFolder) -> list[list[str]]:
    texts = {(sample.problem, sample.sample): sample.text for sample in folder.samples()}
    words = {True: "right", False: "wrong"}
    return [
        [
            grade["problem"],
            str(grade["sample"]),
            grade["answer"] or MISSING,
            words[grade["correct"]],
            words[grade["second"]],
            " ".join(texts[grade["problem"], grade["sample"]][-_EXCERPT:].split()),
        ]
        for grade in folder.grades()
        if grade["second"] is not None and grade["second"] != grade["correct"]
    ]


def _settings_section(evaluations: Evaluations) -> str:
    """Show the settings of the first evaluation, and each model's and benchmark's identity."""
    folders = [folder for benchmarks in evaluations.values() for folder in benchmarks.values()]
    manifests = [folder.manifest() for folder in folders]
    models = {manifest["model"]["label"]: manifest["model"] for manifest in manifests}
    benchmarks = {manifest["benchmark"]["name"]: manifest["benchmark"] for manifest in manifests}
    first = manifests[0]
    shared = {
        **flatten({"sampling": first["sampling"], "versions": first["versions"]}),
        **flatten({"grader": folders[0].metrics()["grader"]}),
    }
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
