"""The pictures of a report on runs, by part of the page, with their titles and notes for the reader."""

import math
from collections.abc import Sequence
from typing import Literal

from verl_vip.forecast.pool import TEACHES
from verl_vip.records.records import RunRecords
from verl_vip.reporting import comparison_plots, curves, plots
from verl_vip.reporting.curves import Groups
from verl_vip.reporting.forecast_plots import plot_teaching
from verl_vip.reporting.page import Picture
from verl_vip.reporting.pareto import Outcome, plot_pareto
from verl_vip.reporting.run_pool import run_windows
from verl_vip.reporting.seeds import spent_tokens
from verl_vip.reporting.style import draw

Part = Literal["accuracy", "rollouts", "predictions"]
Pictures = dict[Part, list[Picture]]

#: More lines than this would be hard to distinguish.
MOST_GROUPS = 8


def run_pictures(run: RunRecords) -> Pictures:
    """Return the pictures of one run, without those that have no data."""
    strategy = run.steps[-1].strategy if run.steps else "run"
    pictures: Pictures = {
        "accuracy": _accuracy_pictures({strategy: [run]}, "The band is the 95% interval over validation problems.")
    }
    if len(run.validations) > 1:
        pictures["accuracy"].append(
            Picture(
                "accuracy_by_family",
                "Accuracy by family",
                "Labels of the validation problems; at most the eight with the most problems.",
                draw(curves.plot_family_accuracy, run, height=curves.family_picture_height(run)),
            )
        )
    if any(sum(record.observed) for record in run.steps):
        pictures["rollouts"] = [*_allocation_pictures(run), *_teaching_pictures(run)]
        pictures["predictions"] = [
            Picture(
                "reliability",
                "Did the predictions hold?",
                "Observed against predicted success, 95% intervals over prompt groups; bars show how often each "
                "prediction was made.",
                draw(plots.plot_reliability, run, height=3.3),
            )
        ]
    if any(record.seconds for record in run.steps):
        pictures.setdefault("predictions", []).append(
            Picture(
                "overhead",
                "Overhead of predicting and allocating",
                "Seconds added to each step, by part.",
                draw(plots.plot_overhead, run, height=3.3),
            )
        )
    return pictures


def comparison_pictures(groups: Groups, outcomes: Sequence[Outcome]) -> Pictures:
    """Return the pictures of several runs.

    Args:
        groups: Runs that share everything but the seed, by name.
        outcomes: Their outcomes; see `verl_vip.reporting.pareto.outcomes`.
    """
    shown, remark = _most_telling(groups, outcomes)
    pictures: Pictures = {"accuracy": _accuracy_pictures(shown, curves.explain_bands(shown) + remark)}
    if len({outcome.rollouts for outcome in outcomes}) > 1:
        pictures["accuracy"].insert(
            0,
            Picture(
                "pareto",
                "Pareto front",
                "Each point is where the runs of one line of the table ended, its whisker the 95% interval; points of "
                "equal cost are moved apart. The stair is the front: the best accuracy for at most so many rollouts.",
                draw(plot_pareto, outcomes, height=curves.picture_height(shown)),
            ),
        )
    sampled = {name: [run for run in runs if run.steps] for name, runs in shown.items()}
    sampled = {name: runs for name, runs in sampled.items() if runs}
    return pictures | _group_pictures(sampled) if sampled else pictures


def _most_telling(groups: Groups, outcomes: Sequence[Outcome]) -> tuple[Groups, str]:
    """Return the groups with the best outcomes, at most `MOST_GROUPS`, and a sentence on the groups left out."""
    if len(groups) <= MOST_GROUPS:
        return groups, ""
    best = {outcome.group: outcome.accuracy.value for outcome in outcomes}
    chosen = sorted(groups, key=lambda name: -best.get(name, -1.0))[:MOST_GROUPS]
    remark = (
        f" Of {len(groups)} lines the {MOST_GROUPS} that ended with the best accuracy are drawn; the table has all."
    )
    return {name: runs for name, runs in groups.items() if name in chosen}, remark


def _accuracy_pictures(groups: Groups, band: str) -> list[Picture]:
    """Return pictures of accuracy against rollouts, tokens and time; an empty list if no run was validated twice."""
    groups = {name: [run for run in runs if run.validations] for name, runs in groups.items()}
    if not any(len(run.validations) > 1 for runs in groups.values() for run in runs):
        return []
    height = curves.picture_height(groups)
    pictures = [
        Picture(
            "accuracy_by_rollouts",
            "Accuracy against rollouts",
            f"Rollouts are what the budget counts, so this is the fair comparison. {band}",
            draw(curves.plot_accuracy, groups, against="rollouts", height=height),
        )
    ]
    counted = {
        name: [run for run in runs if not any(map(math.isnan, spent_tokens(run)))] for name, runs in groups.items()
    }
    if any(run.steps for runs in counted.values() for run in runs):
        missing = sum(map(len, groups.values())) - sum(map(len, counted.values()))
        pictures.append(
            Picture(
                "accuracy_by_tokens",
                "Accuracy against tokens",
                "Tokens of all sampled responses, which is what sampling and the update cost."
                + (f" Not drawn for lack of token counts: {missing} runs." if missing > 1 else "")
                + (" Not drawn for lack of token counts: one run." if missing == 1 else ""),
                draw(curves.plot_accuracy, counted, against="tokens", height=height),
            )
        )
    pictures.append(
        Picture(
            "accuracy_by_time",
            "Accuracy against time",
            "Training and validation, with pauses between a stop and its resume left out.",
            draw(curves.plot_accuracy, groups, against="time", height=height),
        )
    )
    return pictures


def _group_pictures(groups: Groups) -> Pictures:
    """Return the pictures of counts, predictions, signal and overhead, for groups of runs with steps."""
    height = curves.picture_height(groups)
    pictures: Pictures = {
        "rollouts": [
            Picture(
                "counts_by_prediction",
                "Where the rollouts went",
                "Mean rollouts of a prompt against its predicted success probability, over all steps.",
                draw(comparison_plots.plot_counts_by_group, groups, height=height),
            ),
            Picture(
                "no_signal",
                "Prompt groups without signal",
                "All rollouts wrong or all right, so that no advantage remains; means of neighbouring steps.",
                draw(comparison_plots.plot_no_signal_by_group, groups, height=height),
            ),
        ],
        "predictions": [
            Picture(
                "reliability",
                "Did the predictions hold?",
                "Observed against predicted success, over all steps; the dashed diagonal is perfect calibration.",
                draw(comparison_plots.plot_reliability_by_group, groups, height=height),
            )
        ],
    }
    if any(record.seconds for runs in groups.values() for run in runs for record in run.steps):
        pictures["predictions"].append(
            Picture(
                "overhead",
                "Overhead of predicting and allocating",
                "Seconds added to a step, by part: medians over all steps.",
                draw(comparison_plots.plot_overhead_by_group, groups, height=1.3 + 0.42 * len(groups)),
            )
        )
    return pictures


def _teaching_pictures(run: RunRecords) -> list[Picture]:
    windows = run_windows(run)
    if not windows:
        return []
    return [
        Picture(
            "teaching",
            "Prompts that can teach",
            f"Share of the prompts served with a success probability between {TEACHES[0]:.0%} and {TEACHES[1]:.0%}, "
            "with 95% intervals; estimated from the latest rollouts of each prompt.",
            draw(plot_teaching, windows),
        )
    ]


def _allocation_pictures(run: RunRecords) -> list[Picture]:
    return [
        Picture(
            "counts_by_prediction",
            "Where the rollouts went",
            "Rollouts of a prompt against its predicted success probability; the area of a disc is the "
            "number of prompt groups.",
            draw(plots.plot_counts_by_prediction, run, height=3.3),
        ),
        Picture(
            "counts_over_time",
            "Counts over training",
            "Mean rollouts of prompts in five bands of predicted success probability; a line breaks off "
            "where a step had no such prompt.",
            draw(plots.plot_counts_over_time, run, height=3.3),
        ),
        Picture(
            "no_signal",
            "Prompt groups without signal",
            "All rollouts wrong or all right, so that no advantage remains.",
            draw(plots.plot_no_signal, run, height=3.3),
        ),
    ]
