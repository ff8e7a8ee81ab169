"""Curves over training, of one run or of several runs together."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, PercentFormatter
from numpy.typing import NDArray

from verl_vip.reporting.records import RunRecords
from verl_vip.reporting.style import PAPER, SERIES, series_style
from verl_vip.reporting.summary import wilson_interval, without_signal
from verl_vip.reporting.timing import training_seconds

FloatArray = NDArray[np.float64]

Progress = Literal["rollouts", "steps", "time"]

_MOST_FAMILIES = 8


def plot_accuracy(groups: Mapping[str, Sequence[RunRecords]], ax: Axes, against: Progress = "rollouts") -> None:
    """Draw validation accuracy against what it cost.

    A group of one run has the 95% interval over validation problems as its band. Several runs of a group are
    seeds: the line is their mean where all were validated, the band reaches from the least to the greatest.

    Args:
        groups: Runs by the name in the legend.
        ax: Where to draw.
        against: Training rollouts, training steps, or time of training without pauses.
    """
    style = series_style(groups)
    scale, unit = _time_unit(groups) if against == "time" else (1.0, "")
    for name, runs in groups.items():
        validated = [run for run in runs if run.validations]
        label = name if len(validated) < 2 else f"{name} ({len(validated)} runs)"
        for x, middle, low, high in _bands(validated, against, scale):
            ax.plot(x, middle, label=label, markeredgecolor=PAPER, markeredgewidth=0.6, **style[name])
            ax.fill_between(x, low, high, color=style[name]["color"], alpha=0.15, linewidth=0)
            label = "_nolegend_"
    ax.set_xlabel(
        {"rollouts": "training rollouts", "steps": "training steps", "time": f"training time ({unit})"}[against]
    )
    ax.set_ylabel("validation accuracy")
    _percent(ax)
    if against == "rollouts":
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_xlim(left=0)
    if len(groups) > 1:
        ax.legend(loc="best")


def plot_family_accuracy(run: RunRecords, ax: Axes) -> None:
    """Draw validation accuracy of each label against training rollouts; of many labels, the eight largest."""
    sizes = run.validations[-1].count
    labels = sorted(sorted(sizes, key=lambda label: -sizes[label])[:_MOST_FAMILIES])
    for (label, style), colour in zip(series_style(labels).items(), SERIES, strict=False):
        seen = [record for record in run.validations if label in record.count]
        ax.plot(
            [record.rollouts_total for record in seen],
            [record.correct[label] / record.count[label] for record in seen],
            label=label,
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            **{**style, "color": colour},
        )
    ax.set_xlabel("training rollouts")
    ax.set_ylabel("validation accuracy")
    _percent(ax)
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_xlim(left=0)
    _legend_above(ax, columns=2)


def plot_no_signal_by_group(groups: Mapping[str, Sequence[RunRecords]], ax: Axes) -> None:
    """Draw the share of prompt groups without signal over training steps, averaged over a group's runs."""
    style = series_style(groups)
    for name, runs in groups.items():
        shares: dict[int, list[float]] = {}
        for record in (record for run in runs for record in run.steps):
            shares.setdefault(record.step, []).append(sum(without_signal(record)))
        steps = sorted(shares)
        means = np.array([np.mean(shares[step]) for step in steps])
        x, y = windows(np.array(steps, dtype=np.float64), means, most=20)
        ax.plot(x, y, label=name, markeredgecolor=PAPER, markeredgewidth=0.6, **style[name])
    ax.set_xlabel("training steps")
    ax.set_ylabel("prompt groups without signal")
    ax.set_ylim(bottom=0)
    _percent(ax)
    if len(groups) > 1:
        ax.legend(loc="best")


def windows(x: FloatArray, y: FloatArray, most: int = 60) -> tuple[FloatArray, FloatArray]:
    """Return the means of `most` or fewer windows of neighbouring steps, with NaN left out."""
    parts = np.array_split(np.arange(len(x)), min(len(x), most) or 1)
    middle = np.array([x[part].mean() for part in parts if len(part)])
    mean = [y[part][np.isfinite(y[part])] for part in parts if len(part)]
    return middle, np.array([values.mean() if len(values) else np.nan for values in mean])


def _accuracy_band(run: RunRecords, against: Progress, scale: float) -> tuple[FloatArray, ...]:
    bounds = [wilson_interval(sum(record.correct.values()), record.num_problems) for record in run.validations]
    return (
        _positions(run, against, scale),
        np.array([record.accuracy for record in run.validations]),
        np.array([low for low, _ in bounds]),
        np.array([high for _, high in bounds]),
    )


def _bands(runs: Sequence[RunRecords], against: Progress, scale: float) -> list[tuple[FloatArray, ...]]:
    """Return position, line, lower and upper end of the bands of a group: one, or one a run.

    Several runs become one band over the steps that all were validated at (times are averaged). Without such
    a step each stays by itself.
    """
    steps = [{record.step for record in run.validations} for run in runs]
    common = set.intersection(*steps) if len(runs) > 1 else set()
    if not common:
        return [_accuracy_band(run, against, scale) for run in runs]
    x, y = [], []
    for run in runs:
        kept = np.array([record.step in common for record in run.validations])
        x.append(_positions(run, against, scale)[kept])
        y.append(np.array([record.accuracy for record in run.validations])[kept])
    values = np.array(y)
    return [(np.mean(x, axis=0), values.mean(axis=0), values.min(axis=0), values.max(axis=0))]


def _positions(run: RunRecords, against: Progress, scale: float) -> FloatArray:
    if against == "rollouts":
        return np.array([record.rollouts_total for record in run.validations], dtype=np.float64)
    if against == "steps":
        return np.array([record.step for record in run.validations], dtype=np.float64)
    clock = training_seconds(run)
    return np.array([clock(record.wall_time) / scale for record in run.validations])


def _time_unit(groups: Mapping[str, Sequence[RunRecords]]) -> tuple[float, str]:
    """Return the unit in seconds and its name, so that the longest run is a number people can read."""
    longest = max(
        (
            training_seconds(run)(run.validations[-1].wall_time)
            for runs in groups.values()
            for run in runs
            if run.validations
        ),
        default=0.0,
    )
    return (3600.0, "hours") if longest > 2 * 3600 else (60.0, "minutes")


def _percent(ax: Axes) -> None:
    """Label the y axis in whole percent, over ten points at least so that no label occurs twice."""
    low, high = ax.get_ylim()
    missing = max(0.1 - (high - low), 0.0)
    ax.set_ylim(low - missing / 2, high + missing / 2)
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def _legend_above(ax: Axes, columns: int) -> None:
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)
