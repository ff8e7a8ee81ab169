"""Which pictures a report holds, with their titles and what a reader should know of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

from verl_vip.reporting import curves, plots
from verl_vip.reporting.records import RunRecords
from verl_vip.reporting.style import draw, svg_text


@dataclass(frozen=True)
class Picture:
    """One figure of the report; `name` is its file name without the ending, unique in the report."""

    name: str
    title: str
    caption: str
    figure: Figure

    def html(self) -> str:
        """Return the picture as a figure element with its drawing inside."""
        drawing = svg_text(self.figure, self.name).replace(
            "<svg ", f'<svg role="img" aria-label="{escape(self.title)}" ', 1
        )
        return f"<figure><h3>{escape(self.title)}</h3>{drawing}<figcaption>{escape(self.caption)}</figcaption></figure>"


def run_pictures(run: RunRecords) -> list[Picture]:
    """Return the pictures of one run, without those that nothing was recorded for."""
    pictures = accuracy_pictures({_strategy(run): [run]}, "The band is the 95% interval over validation problems.")
    if run.validations:
        pictures.append(
            Picture(
                "accuracy_by_family",
                "Accuracy by family",
                "Labels of the validation problems; at most the eight with the most problems.",
                draw(curves.plot_family_accuracy, run, height=3.4),
            )
        )
    if any(sum(record.observed) for record in run.steps):
        pictures += _allocation_pictures(run)
    if any(record.seconds for record in run.steps):
        pictures.append(
            Picture(
                "overhead",
                "Overhead of predicting and allocating",
                "Seconds added to each step, by part.",
                draw(plots.plot_overhead, run, height=3.4),
            )
        )
    return pictures


def accuracy_pictures(groups: Mapping[str, Sequence[RunRecords]], band: str) -> list[Picture]:
    """Return accuracy against rollouts, steps and time; nothing if no run was validated.

    Args:
        groups: Runs by the name in the legend.
        band: A sentence that says what the shaded band is.
    """
    if not any(run.validations for runs in groups.values() for run in runs):
        return []
    return [
        Picture(
            "accuracy_by_rollouts",
            "Accuracy against rollouts",
            f"Rollouts are what the budget counts, so this is the fair comparison. {band}",
            draw(curves.plot_accuracy, groups, against="rollouts"),
        ),
        Picture(
            "accuracy_by_steps",
            "Accuracy against steps",
            "The same accuracies over optimiser steps.",
            draw(curves.plot_accuracy, groups, against="steps"),
        ),
        Picture(
            "accuracy_by_time",
            "Accuracy against time",
            "Training and validation, with pauses between a stop and its resume left out.",
            draw(curves.plot_accuracy, groups, against="time"),
        ),
    ]


def comparison_pictures(groups: Mapping[str, Sequence[RunRecords]]) -> list[Picture]:
    """Return the pictures of several runs, grouped by strategy."""
    pictures = accuracy_pictures(
        groups,
        "A band reaches from the least to the greatest of a strategy's runs; for a single run it is the 95% "
        "interval over validation problems.",
    )
    if all(run.steps for runs in groups.values() for run in runs):
        pictures.append(
            Picture(
                "no_signal",
                "Prompt groups without signal",
                "All rollouts wrong or all right, so that no advantage remains; means of neighbouring steps.",
                draw(curves.plot_no_signal_by_group, groups),
            )
        )
    return pictures


def _allocation_pictures(run: RunRecords) -> list[Picture]:
    return [
        Picture(
            "counts_by_prediction",
            "Where the rollouts went",
            "Rollouts of a prompt against its predicted success probability; the area of a disc is the "
            "number of prompt groups.",
            draw(plots.plot_counts_by_prediction, run, height=3.4),
        ),
        Picture(
            "counts_over_time",
            "Counts over training",
            "Mean rollouts of prompts in five bands of predicted success probability; a line breaks off "
            "where a step had no such prompt.",
            draw(plots.plot_counts_over_time, run, height=3.4),
        ),
        Picture(
            "reliability",
            "Did the predictions hold?",
            "Observed against predicted success, 95% intervals over prompt groups; bars show how often each "
            "prediction was made.",
            draw(plots.plot_reliability, run, height=3.4),
        ),
        Picture(
            "no_signal",
            "Prompt groups without signal",
            "All rollouts wrong or all right, so that no advantage remains.",
            draw(plots.plot_no_signal, run, height=3.4),
        ),
    ]


def _strategy(run: RunRecords) -> str:
    return run.steps[-1].strategy if run.steps else "run"
