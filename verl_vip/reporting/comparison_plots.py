"""Pictures that compare the counts, predictions, signal and overhead of several runs.

Each function draws groups of runs that share everything but the seed into `ax` and returns nothing.
"""

from itertools import cycle

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from verl_vip.records.step_statistics import without_signal
from verl_vip.records.timing import overhead_seconds
from verl_vip.reporting.axes import legend_above, percent_axis, step_axis
from verl_vip.reporting.curves import FloatArray, Groups, windows
from verl_vip.reporting.labels import label_text, label_texts
from verl_vip.reporting.prediction_scores import scored_rows
from verl_vip.reporting.style import INK, PAPER, SERIES, series_style
from verl_vip.statistics.calibration import reliability


def plot_counts_by_group(groups: Groups, ax: Axes, bins: int = 10) -> None:
    """Draw the mean rollouts of prompts against their predicted success probability, over all runs of a group."""
    style, labels = series_style(groups), label_texts(groups)
    for name, runs in groups.items():
        predicted = np.concatenate([run.prompts.predicted for run in runs])
        requested = np.concatenate([run.prompts.requested for run in runs])
        column = np.minimum((predicted * bins).astype(int), bins - 1)
        used = np.unique(column)
        means = [requested[column == k].mean() for k in used]
        ax.plot(
            (used + 0.5) / bins, means, label=labels[name], markeredgecolor=PAPER, markeredgewidth=0.6, **style[name]
        )
    ax.set_xlim(0, 1)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("predicted success probability, before sampling")
    ax.set_ylabel("mean rollouts of the prompt")
    legend_above(ax)


def plot_reliability_by_group(groups: Groups, ax: Axes) -> None:
    """Draw the observed success rate against the predicted one, over all runs of a group."""
    style, labels = series_style(groups), label_texts(groups)
    ax.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="_nolegend_")
    for name, runs in groups.items():
        rows = [scored_rows(run) for run in runs if any(sum(record.observed) for record in run.steps)]
        if not rows:
            continue
        mean, successes, trials = (torch.cat(columns) for columns in zip(*rows, strict=True))
        table = reliability(mean, successes, trials)
        used = (table.prompts > 0).numpy()
        ax.plot(
            table.predicted.numpy()[used],
            table.observed.numpy()[used],
            label=labels[name],
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            **style[name],
        )
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_xlabel("predicted success probability, before sampling")
    ax.set_ylabel("observed success rate")
    legend_above(ax)


def plot_no_signal_by_group(groups: Groups, ax: Axes) -> None:
    """Draw the share of prompt groups without signal over training steps, averaged over a group's runs."""
    style, labels = series_style(groups), label_texts(groups)
    for name, runs in groups.items():
        shares: dict[int, list[float]] = {}
        for record in (record for run in runs for record in run.steps):
            shares.setdefault(record.step, []).append(sum(without_signal(record)))
        steps = sorted(shares)
        means = np.array([np.mean(shares[step]) for step in steps])
        x, y = windows(np.array(steps, dtype=np.float64), means, most=20)
        ax.plot(x, y, label=labels[name], markeredgecolor=PAPER, markeredgewidth=0.6, **style[name])
    ax.set_ylim(bottom=0)
    percent_axis(ax)
    ax.set_ylim(bottom=0)
    step_axis(ax)
    ax.set_ylabel("prompt groups without signal")
    legend_above(ax)


def plot_overhead_by_group(groups: Groups, ax: Axes) -> None:
    """Draw the seconds that each part of the package adds to a step: medians over the steps of a group's runs."""
    names = list(groups)
    parts: dict[str, list[float]] = {}
    for row, name in enumerate(names):
        seconds: dict[str, list[float]] = {}
        for run in groups[name]:
            for part, values in overhead_seconds(run).items():
                seconds.setdefault(part, []).extend(values.tolist())
        for part, samples in seconds.items():
            parts.setdefault(part, [0.0] * len(names))[row] = float(np.median(samples))
    left: FloatArray = np.zeros(len(names))
    labels = label_texts(parts)
    for (part, widths), colour in zip(parts.items(), cycle(SERIES), strict=False):
        ax.barh(
            range(len(names)), widths, left=left, height=0.45, color=colour, alpha=0.8, label=labels[part], linewidth=0
        )
        left = left + np.array(widths)
    for row, name in enumerate(names):  # above the bar, because there is no room for long names next to it
        ax.annotate(
            label_text(name, lines=1), (0, row - 0.25), xytext=(2, 1), textcoords="offset points", fontsize="small"
        )
    ax.set_yticks([])
    ax.set_ylim(len(names) - 0.6, -0.75)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("median seconds a step")
    legend_above(ax)
