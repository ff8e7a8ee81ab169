"""The page of one run."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from verl_vip.records.records import RunRecords, ValidationRecord
from verl_vip.records.settings import shown_settings, shown_versions
from verl_vip.reporting.markup import (
    MISSING,
    Tone,
    card,
    cards,
    definitions,
    duration,
    note,
    number,
    percent,
    section,
    table,
)
from verl_vip.reporting.page import gallery
from verl_vip.reporting.pictures import Pictures
from verl_vip.reporting.prediction_scores import PredictionScores, score_predictions
from verl_vip.reporting.run_pool import teaching_pool
from verl_vip.reporting.summary import FamilyRow, Summary, family_rows, summarize
from verl_vip.statistics.intervals import wilson_interval

FORECAST_HEAD = ("Brier score", "log loss (nats)", "calibration error", "rank correlation")
FORECAST_NOTE = (
    "Lower is better but for the rank correlation (Spearman). The base rate is the mean of all earlier prompt groups; "
    "the last observation is the prompt's own rate at its previous visit."
)


def run_page(run: RunRecords, pictures: Pictures) -> str:
    """Return the body of one run's page: headline figures, pictures, tables, settings."""
    sampled = any(sum(record.observed) for record in run.steps)
    headlines = _headlines(run, summarize(run))
    parts = [
        cards([*headlines, _teaching_card(run)] if sampled else headlines),
        section("Accuracy", gallery(pictures.get("accuracy", []))),
        section("Rollouts", gallery(pictures.get("rollouts", []))),
        section(
            "Predictions and overhead",
            gallery(pictures.get("predictions", [])),
            _forecast_table(run) if sampled else "",
        ),
        _family_section(family_rows(run)),
        section("Starts", _starts_table(run)),
        section("Settings", definitions(shown_settings(run)), note="What changed between two starts stands first."),
        section("Versions", definitions(shown_versions(run))),
    ]
    return "".join(parts)


def accuracy_with_interval(record: ValidationRecord) -> str:
    """Return the accuracy and its 95% interval over problems, as text."""
    return f"{wilson_interval(sum(record.correct.values()), record.num_problems):.1%}"


def budget_verdict(summary: Summary) -> tuple[str, str, Tone]:
    """Return whether every step kept its budget: the verdict, its reason, and its tone."""
    if not summary.steps:
        return MISSING, "no step recorded", ""
    if not summary.broken:
        return (
            "yes",
            f"in all {summary.steps} steps the counts came back as requested and keep the budget",
            "good",
        )
    first = ", ".join(map(str, summary.broken[:5])) + (", …" if len(summary.broken) > 5 else "")
    where = f"in {len(summary.broken)} of {summary.steps} steps"
    if summary.asked_exactly:
        return (
            f"{summary.lost:,} lost",
            f"every step asked for its budget exactly; {where} rollouts came back without a reward (steps {first})",
            "bad",
        )
    return "no", f"{where} counts differ (steps {first})", "bad"


def overhead_text(summary: Summary) -> tuple[str, str]:
    """Return the median overhead of a step and its share of the step, as text."""
    share = summary.overhead_share
    return duration(summary.overhead), "" if math.isnan(share) else f"{percent(share)} of the median step"


def forecast_cells(score: PredictionScores) -> list[str]:
    """Return the table cells for the columns of `FORECAST_HEAD`."""
    return [number(score.brier, 4), number(score.log_loss, 4), number(score.ece, 4), number(score.spearman, 3)]


def _headlines(run: RunRecords, summary: Summary) -> list[str]:
    verdict, reason, tone = budget_verdict(summary)
    seconds, share = overhead_text(summary)
    header = run.headers[-1]
    kinds = f"all wrong {percent(summary.all_wrong)}, all right {percent(summary.all_right)}"
    if summary.all_alike > 0:
        kinds += f", alike in between {percent(summary.all_alike)}"
    return [
        _accuracy_card(summary),
        card(
            "Rollouts spent",
            f"{summary.rollouts:,}",
            f"{summary.steps} steps of {header.prompts_per_step} prompts and {header.budget} rollouts, "
            f"{duration(summary.seconds)} of training",
        ),
        card("Budget kept exactly", verdict, reason, tone),
        card(
            "Prompt groups without signal",
            percent(summary.no_signal),
            kinds,
        ),
        card("Overhead a step", seconds, share),
    ]


def _teaching_card(run: RunRecords) -> str:
    """Return how many of the prompts can teach, and whether choosing among them has anything left to gain."""
    pool = teaching_pool(run)
    if pool is None:
        return card("Prompts that can teach", MISSING, "one rollout of a prompt does not show how prompts differ")
    value, low, high = (percent(share, 0) for share in (pool.teaches.value, *pool.teaches.limits))
    detail = f"of the prompts served, at the end of the run; between {low} and {high}"
    if pool.is_filtered:
        detail += ". Filtered data: nearly all prompts can teach alike, so that selection has nothing left to gain"
    return card("Prompts that can teach", value, detail)


def _accuracy_card(summary: Summary) -> str:
    first, last = summary.first, summary.last
    if first is None or last is None:
        return card("Validation accuracy", MISSING, "no validation recorded")
    if first is last:
        return card("Validation accuracy", percent(last.accuracy), f"once, {accuracy_with_interval(last)}")
    return card(
        "Validation accuracy",
        f"{100 * first.accuracy:.1f} → {percent(last.accuracy)}",
        f"{accuracy_with_interval(first)} at step {first.step}, {accuracy_with_interval(last)} at step "
        f"{last.step}; 95% intervals over {last.num_problems} problems",
    )


def _forecast_table(run: RunRecords) -> str:
    rows = [[score.name, *forecast_cells(score)] for score in score_predictions(run)]
    return table(["predictor", *FORECAST_HEAD], rows) + note(FORECAST_NOTE)


def _family_section(rows: Sequence[FamilyRow]) -> str:
    if not rows:
        return ""
    head = [
        "family",
        "problems",
        "first accuracy",
        "last accuracy",
        "prompt groups",
        "rollouts a prompt",
        "mean predicted",
        "mean observed",
    ]
    body = [
        [
            row.label or "(no label)",
            MISSING if row.problems is None else str(row.problems),
            percent(row.first_accuracy),
            percent(row.last_accuracy),
            f"{row.groups:,}",
            number(row.rollouts_per_prompt),
            number(row.mean_predicted),
            number(row.mean_observed),
        ]
        for row in rows
    ]
    return section(
        "Families",
        table(head, body),
        note="Accuracies are of the validation problems; the other columns are of the training prompts.",
    )


def _starts_table(run: RunRecords) -> str:
    rows = [
        [
            datetime.fromtimestamp(header.started_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "from the beginning" if header.resumed_from is None else f"resumed after step {header.resumed_from}",
        ]
        for header in run.headers
    ]
    return table(["started", "how"], rows, text_columns=2)
