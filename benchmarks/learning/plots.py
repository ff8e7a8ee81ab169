"""The pictures of a bench: accuracy against rollouts, and ratios of rollouts, by arm and by target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from benchmarks.learning.analysis import Curves, accuracy_per_seed
from verl_vip.reporting.labels import label_text
from verl_vip.reporting.style import FAINT, INK, PAPER, SERIES
from verl_vip.statistics.intervals import Estimate, mean_interval

_POINTS = 60


def plot_curves(curves: Sequence[Curves], labels: Mapping[str, str], highlight: str, target: float, ax: Axes) -> None:
    """Plot accuracy against rollouts: the mean over seeds, with its 95 % interval as a band.

    Runs can end early at a high accuracy, so each arm is plotted up to the end of its shortest run.
    """
    ends = [min(curve.column(k, "rollouts")[-1] for k in range(len(curve.runs))) for curve in curves]
    end = max(ends)
    ax.axhline(target, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    ax.annotate(
        f"target {100 * target:.0f} %",
        (0, target),
        (3, 4),
        textcoords="offset points",
        ha="left",
        fontsize=7,
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
    )
    others = [curve.name for curve in curves if curve.name != highlight]
    for curve, last in zip(curves, ends, strict=True):
        grid = np.linspace(0, last, _POINTS)
        bands = [mean_interval(accuracy_per_seed(curve, x).tolist()) for x in grid]
        colour = SERIES[0] if curve.name == highlight else SERIES[1 + others.index(curve.name) % (len(SERIES) - 1)]
        ax.fill_between(grid, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.15, linewidth=0)
        ax.plot(grid, [b.value for b in bands], color=colour, label=label_text(labels.get(curve.name, curve.name), 130))
    ax.set_xlim(0, end)
    ax.set_xlabel("rollouts sampled, pilots and discards included")
    ax.set_ylabel("accuracy on held-out prompts")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # whole percentages
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def plot_ratios(
    ratios: Mapping[str, Estimate],
    labels: Mapping[str, str],
    notes: Mapping[str, str],
    highlight: str,
    label: str,
    ax: Axes,
) -> None:
    """Plot each arm's ratio with its interval and its note, the largest at the top; 1 is the reference."""
    order = sorted(ratios, key=lambda name: ratios[name].value)
    ax.axvline(1, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    for row, name in enumerate(order):
        value = ratios[name]
        colour = SERIES[0] if name == highlight else INK
        ax.barh(row, value.value, height=0.62, color=SERIES[0] if name == highlight else FAINT)
        ax.hlines(row, value.low, value.high, color=colour, linewidth=1.4)
        ax.plot(value.value, row, marker="o", color=colour, markeredgecolor=PAPER, markeredgewidth=0.6)
        ax.annotate(
            f"{value.value:.2f}{notes.get(name, '')}",
            (value.high, row),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    ax.set_yticks(range(len(order)), [label_text(labels.get(name, name), 150) for name in order])
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.set_xlim(0, max(value.high for value in ratios.values()) * 1.25)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(label)


def plot_by_target(rows: Mapping[float, Mapping[str, Any]], target: float, ax: Axes) -> None:
    """Plot the gain of `prioritized` over the strongest uniform setting of each target, with its interval as a band."""
    x = sorted(rows)
    ax.axhline(1, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    ax.fill_between(
        x, [rows[t]["low"] for t in x], [rows[t]["high"] for t in x], color=SERIES[0], alpha=0.15, linewidth=0
    )
    ax.plot(x, [rows[t]["value"] for t in x], color=SERIES[0])
    ax.plot(target, rows[target]["value"], marker="o", color=SERIES[0], markeredgecolor=PAPER, markeredgewidth=0.6)
    ax.annotate("target", (target, rows[target]["value"]), (0, 7), textcoords="offset points", ha="center", fontsize=7)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.set_xlabel("accuracy on held-out prompts")
    ax.set_ylabel("times fewer rollouts than the\nstrongest uniform setting")
