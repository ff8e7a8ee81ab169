"""The page that puts several runs beside each other."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from verl_vip.reporting.markup import MISSING, definitions, duration, flatten, number, percent, section, table
from verl_vip.reporting.pictures import Picture
from verl_vip.reporting.records import RunRecords
from verl_vip.reporting.run_page import accuracy_with_interval, budget_verdict, overhead_text
from verl_vip.reporting.summary import summarize


def group_runs(runs: Mapping[str, RunRecords]) -> dict[str, dict[str, RunRecords]]:
    """Return the runs by strategy; those whose other `vip` settings differ are told apart by them.

    Args:
        runs: Runs by name.

    Returns:
        For each group its runs by name. A group is named by the strategy and, where needed, by what differs,
        such as `vip (predictor=ridge)`.
    """
    settings = {name: _vip_settings(run) for name, run in runs.items()}
    groups: dict[str, dict[str, RunRecords]] = {}
    for name, run in runs.items():
        strategy = _strategy(run)
        peers = [settings[other] for other, peer in runs.items() if _strategy(peer) == strategy]
        differing = [
            key for key in sorted({key for peer in peers for key in peer}) if len({str(p.get(key)) for p in peers}) > 1
        ]
        extra = ", ".join(f"{key}={settings[name].get(key, MISSING)}" for key in differing)
        groups.setdefault(f"{strategy} ({extra})" if extra else strategy, {})[name] = run
    return groups


def comparison_page(groups: Mapping[str, Mapping[str, RunRecords]], pictures: Sequence[Picture]) -> str:
    """Return the body of the page: strategies, pictures, runs, and which settings differ."""
    runs = {name: run for members in groups.values() for name, run in members.items()}
    parts = [
        section("Strategies", _strategy_table(groups), note=_strategy_note(runs)),
        section("Pictures", f'<div class="pictures">{"".join(picture.html() for picture in pictures)}</div>'),
        section("Runs", _run_table(groups), note="Accuracy with its 95% interval over validation problems."),
    ]
    flat = {name: flatten(run.headers[-1].settings) for name, run in runs.items()}
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    differing = [key for key in keys if len({str(settings.get(key, MISSING)) for settings in flat.values()}) > 1]
    if differing:
        rows = [[key, *(str(settings.get(key, MISSING)) for settings in flat.values())] for key in differing]
        parts.append(section("Settings that differ", table(["setting", *flat], rows, text_columns=1 + len(flat))))
    first = next(iter(flat.values()))
    shared = {key: first[key] for key in keys if key not in differing}
    parts.append(section("Settings in common", definitions(shared)))
    return "".join(parts)


def shared_rollouts(runs: Mapping[str, RunRecords]) -> int | None:
    """Return the most rollouts at which every run was validated; None if there is no such point."""
    points = [{record.rollouts_total for record in run.validations} for run in runs.values()]
    return max(set.intersection(*points), default=None)


def _strategy_table(groups: Mapping[str, Mapping[str, RunRecords]]) -> str:
    point = shared_rollouts({name: run for members in groups.values() for name, run in members.items()})
    rows = []
    for name, members in groups.items():
        summaries = [summarize(run) for run in members.values()]
        reached = [_accuracy_at(run, point) for run in members.values()] if point is not None else []
        rows.append(
            [
                name,
                str(len(members)),
                percent(statistics.fmean(reached)) if reached else MISSING,
                _standard_error(reached),
                f"{100 * min(reached):.1f} – {percent(max(reached))}" if len(reached) > 1 else MISSING,
                percent(_mean([summary.all_wrong + summary.all_right for summary in summaries])),
                duration(_mean([summary.overhead for summary in summaries])),
            ]
        )
    head = [
        "strategy",
        "runs",
        "accuracy",
        "standard error",
        "range",
        "groups without signal",
        "overhead a step",
    ]
    return table(head, rows)


def _strategy_note(runs: Mapping[str, RunRecords]) -> str:
    point = shared_rollouts(runs)
    if point is None:
        return "The runs were never validated after the same number of rollouts, so accuracies are not compared."
    return (
        f"Accuracy after {point:,} rollouts, the most that all runs were validated at. The standard error is "
        "over runs of one strategy."
    )


def _run_table(groups: Mapping[str, Mapping[str, RunRecords]]) -> str:
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
                    percent(summary.all_wrong + summary.all_right),
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


def _strategy(run: RunRecords) -> str:
    return run.steps[-1].strategy if run.steps else str(_vip_settings(run).get("strategy", "no step yet"))


def _vip_settings(run: RunRecords) -> dict[str, Any]:
    vip = run.headers[-1].settings.get("vip")
    return flatten(vip) if isinstance(vip, Mapping) else {}


def _accuracy_at(run: RunRecords, rollouts: int) -> float:
    return next(record.accuracy for record in run.validations if record.rollouts_total == rollouts)


def _standard_error(values: Sequence[float]) -> str:
    if len(values) < 2:
        return MISSING
    return f"{number(100 * statistics.stdev(values) / math.sqrt(len(values)), 1)} points"


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan
