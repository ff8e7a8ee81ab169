"""The part of a page that compares several runs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from verl_vip.records.records import RunRecords
from verl_vip.records.settings import flatten
from verl_vip.reporting.markup import MISSING, cards, definitions, duration, percent, section, table
from verl_vip.reporting.page import gallery
from verl_vip.reporting.paired import BASELINE, advantage
from verl_vip.reporting.pareto import Outcome
from verl_vip.reporting.pictures import Pictures
from verl_vip.reporting.prediction_scores import PredictionScores, score_predictions
from verl_vip.reporting.run_page import (
    FORECAST_HEAD,
    accuracy_with_interval,
    budget_verdict,
    forecast_cells,
    overhead_text,
)
from verl_vip.reporting.summary import summarize
from verl_vip.reporting.verdict import RunGroups, verdict_cards


def comparison_page(groups: RunGroups, outcomes: Sequence[Outcome], pictures: Pictures) -> str:
    """Return the body of the page: outcomes, pictures, runs, and the settings that differ.

    Args:
        groups: Runs that share everything but the seed, by group and name.
        outcomes: The outcomes of the groups.
        pictures: The pictures, by part of the page.
    """
    runs = {name: run for members in groups.values() for name, run in members.items()}
    spent_alike = len({outcome.rollouts for outcome in outcomes}) < 2
    parts = [
        cards(verdict_cards(groups)),
        section("Outcome", _outcome_table(groups, outcomes, runs), note=_outcome_note(groups, outcomes, spent_alike)),
        section("Accuracy", gallery(pictures.get("accuracy", []))),
        section("Rollouts", gallery(pictures.get("rollouts", []))),
        section("Predictions and overhead", gallery(pictures.get("predictions", [])), _forecast_table(groups)),
        section("Runs", _run_table(groups), note="Accuracy with its 95% interval over validation problems."),
        *_settings_sections(runs),
    ]
    return "".join(parts)


def shared_rollouts(runs: Mapping[str, RunRecords]) -> int | None:
    """Return the largest number of rollouts at which every run was validated; None if there is none."""
    points = [{record.rollouts_total for record in run.validations} for run in runs.values()]
    return max(set.intersection(*points), default=None)


def _outcome_table(groups: RunGroups, outcomes: Sequence[Outcome], runs: Mapping[str, RunRecords]) -> str:
    point = shared_rollouts(runs)
    alike = len({outcome.rollouts for outcome in outcomes}) < 2
    head = ["strategy", "runs", "rollouts", "accuracy", "95% interval", "range"]
    with_point = point is not None and point > 0 and not alike
    if with_point:
        head.append(f"after {point:,} rollouts")
    with_baseline = _has_baseline(groups)
    if with_baseline:
        head.append(f"above {BASELINE}")
    head += ["without signal", "overhead a step", *([] if alike else ["on the front"])]
    ends: dict[str, list[Outcome | None]] = {
        name: [end for end in outcomes if end.group == name] or [None] for name in groups
    }
    rows = []
    for name, members in groups.items():
        summaries = [summarize(run) for run in members.values()]
        for end in ends[name]:
            row = [name, *_outcome_cells(end, len(members)), _range(end, members)]
            if with_point and point is not None:
                row.append(percent(statistics.fmean(_accuracy_at(run, point) for run in members.values())))
            if with_baseline:
                row.append(_advantage_cell(members, runs))
            row += [
                percent(_mean([summary.no_signal for summary in summaries])),
                duration(_mean([summary.overhead for summary in summaries])),
            ]
            rows.append(row if alike else [*row, "yes" if end is not None and end.on_front else MISSING])
    return table(head, rows)


def _has_baseline(groups: RunGroups) -> bool:
    return len(groups) > 1 and any(name.partition(" (")[0] == BASELINE for name in groups)


def _outcome_cells(end: Outcome | None, runs: int) -> list[str]:
    if end is None:
        return [str(runs), MISSING, MISSING, MISSING]
    low, high = end.accuracy.limits
    bounds = f"{100 * low:.1f} – {percent(high)}" if end.accuracy.is_bounded else MISSING
    return [str(end.runs), f"{end.rollouts:,.0f}", percent(end.accuracy.value), bounds]


def _range(end: Outcome | None, members: Mapping[str, RunRecords]) -> str:
    if end is None or end.runs < 2:
        return MISSING
    reached = [_accuracy_at(run, round(end.rollouts)) for run in members.values() if run.validations]
    return f"{100 * min(reached):.1f} – {percent(max(reached))}"


def _advantage_cell(members: Mapping[str, RunRecords], runs: Mapping[str, RunRecords]) -> str:
    found = advantage(members, runs)
    if found is None:
        return MISSING
    return f"{found.difference.scaled(100):+.1f}"


def _outcome_note(groups: RunGroups, outcomes: Sequence[Outcome], spent_alike: bool) -> str:
    if not outcomes:
        return "No run was validated, so accuracies are not compared."
    text = (
        "Runs of one line share everything but the seed. Accuracy is the mean at their last common validation; the "
        "interval is over seeds where there are three or more, over validation problems for a single run. "
    )
    if _has_baseline(groups):
        text += (
            f"Above {BASELINE}: points of accuracy above the {BASELINE} run of the same seed and settings, at equal "
            "rollouts, with the 95% interval over seeds; a dash where there is no such run."
        )
    else:
        text += (
            f"To see what a strategy gains, add runs of vip.strategy={BASELINE} with the same seeds and settings to "
            "the report."
        )
    return text if spent_alike else f"{text} On the front: no other line reached this accuracy with fewer rollouts."


def _forecast_table(groups: RunGroups) -> str:
    rows = []
    for name, members in groups.items():
        scores = [
            score_predictions(run)[0] for run in members.values() if any(sum(record.observed) for record in run.steps)
        ]
        if scores:
            mean = PredictionScores(
                name,
                *(
                    _mean([getattr(one, measure) for one in scores])
                    for measure in ("brier", "log_loss", "ece", "spearman")
                ),
            )
            rows.append([name, *forecast_cells(mean)])
    return table(["strategy", *FORECAST_HEAD], rows) if rows else ""


def _run_table(groups: RunGroups) -> str:
    rows = []
    for group, members in groups.items():
        for name, run in members.items():
            summary = summarize(run)
            seconds, share = overhead_text(summary)
            rows.append(
                [
                    name,
                    group,
                    str(summary.steps),
                    f"{summary.rollouts:,}",
                    percent(summary.first.accuracy) if summary.first else MISSING,
                    accuracy_with_interval(summary.last) if summary.last else MISSING,
                    budget_verdict(summary)[0],
                    percent(summary.no_signal),
                    f"{seconds} ({share.split(' of')[0]})" if share else seconds,
                    duration(summary.seconds),
                ]
            )
    head = [
        "run",
        "strategy",
        "steps",
        "rollouts",
        "first accuracy",
        "last accuracy",
        "budget kept",
        "without signal",
        "overhead a step",
        "time",
    ]
    return table(head, rows, text_columns=2)


def _settings_sections(runs: Mapping[str, RunRecords]) -> list[str]:
    """Return sections on the settings that differ, one row per run, and on those in common, with package versions."""
    flat: dict[str, dict[str, Any]] = {
        name: {
            **flatten(run.headers[-1].settings),
            **{f"version of {package}": version for package, version in run.headers[-1].versions.items()},
        }
        for name, run in runs.items()
    }
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    differing = [key for key in keys if len({str(settings.get(key, MISSING)) for settings in flat.values()}) > 1]
    rows = [[name, *(str(settings.get(key, MISSING)) for key in differing)] for name, settings in flat.items()]
    first = next(iter(flat.values()))
    return [
        section(
            "Settings that differ",
            table(["run", *differing], rows, text_columns=1 + len(differing)) if differing else "",
        ),
        section("Settings in common", definitions({key: first[key] for key in keys if key not in differing})),
    ]


def _accuracy_at(run: RunRecords, rollouts: int) -> float:
    return next((record.accuracy for record in run.validations if record.rollouts_total == rollouts), math.nan)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan
