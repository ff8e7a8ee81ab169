"""Pictures of evaluated models. Each function draws into `ax` and returns nothing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from numpy.typing import NDArray

from verl_vip.evaluation.metrics import powers
from verl_vip.evaluation.results import EvaluationMetrics, ModelComparison, ProblemScore
from verl_vip.reporting.axes import legend_above
from verl_vip.reporting.labels import label_text, label_texts
from verl_vip.reporting.markup import tone_of
from verl_vip.reporting.style import FAINT, INK, PAPER, SERIES
from verl_vip.statistics.intervals import Estimate

#: More lines than this would be hard to distinguish.
MOST_LINES = 6
#: With more models, the bands would cover each other.
MOST_BANDS = 3

#: Room for the name of a row, in points.
_ROW_POINTS = 120.0
_MARKERS = ("o", "s", "^", "D", "v", "P")

Item = TypeVar("Item")


def spread(items: Sequence[Item]) -> list[Item]:
    """Return at most `MOST_LINES` evenly spaced items, including the first and the last."""
    if len(items) <= MOST_LINES:
        return list(items)
    return [items[round(k * (len(items) - 1) / (MOST_LINES - 1))] for k in range(MOST_LINES)]


def plot_pass_at_k(evaluations: Sequence[EvaluationMetrics], ax: Axes) -> None:
    """Draw pass@k against k; with few models, also 95% bands over problems.

    Args:
        evaluations: The metrics of several models on one benchmark. Only those of `spread` are drawn.
        ax: The axes to draw into.
    """
    shown = spread(evaluations)
    labels = label_texts(metrics.model for metrics in shown)
    for index, metrics in enumerate(shown):
        ks = np.array(list(metrics.pass_at_k))
        value, low, high = _columns(metrics.pass_at_k.values())
        if len(shown) <= MOST_BANDS:
            ax.fill_between(ks, low, high, color=SERIES[index], alpha=0.13, linewidth=0)
        ax.plot(
            ks,
            value,
            color=SERIES[index],
            marker=_MARKERS[index],
            markevery=[k - 1 for k in powers(len(ks))],
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            label=labels[metrics.model],
        )
    largest = max(metrics.n for metrics in shown)
    ax.set_xscale("log", base=2)
    ax.set_xticks(powers(largest))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.minorticks_off()
    ax.set_ylim(0, None)
    _, top = ax.get_ylim()
    ax.set_ylim(0, min(max(top, 0.05), 1.03))
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.set_xlabel("k, samples that may be tried")
    ax.set_ylabel("pass@k")
    legend_above(ax)


def plot_problem_accuracy(tables: Mapping[str, Sequence[ProblemScore]], ax: Axes) -> None:
    """Draw the share of correct samples of every problem, from the hardest to the easiest problem of the first model.

    Args:
        tables: The tables of problems of one benchmark, by model. Only those of `spread` are drawn. Problems that the
            first model lacks are left out.
        ax: The axes to draw into.
    """
    shown = spread(list(tables.items()))
    first, *_ = tables.values()
    order = {row.problem: place for place, row in enumerate(sorted(first, key=lambda row: row.mean), 1)}
    labels = label_texts(model for model, _ in shown)
    for index, (model, rows) in enumerate(shown):
        points = sorted((order[row.problem], row.mean) for row in rows if row.problem in order)
        places, means = [place for place, _ in points], [mean for _, mean in points]
        if index == 0:
            ax.step(places, means, where="mid", color=SERIES[0], label=labels[model])
            continue
        look: dict[str, Any] = {"linestyle": "", "marker": _MARKERS[index], "color": SERIES[index], "alpha": 0.75}
        ax.plot(places, means, label=labels[model], **look)
    ax.set_xlim(0, len(order) + 1)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.set_xlabel(label_text(f"problems, by the accuracy of {next(iter(tables))}"))
    ax.set_ylabel("right samples of a problem")
    legend_above(ax)


def plot_steps(evaluations: Mapping[str, Sequence[EvaluationMetrics]], ax: Axes) -> None:
    """Draw mean@n over training steps with 95% intervals over problems, one line per benchmark.

    Args:
        evaluations: The metrics of one run's checkpoints in ascending order of steps, by benchmark.
        ax: The axes to draw into.
    """
    labels = label_texts(evaluations)
    for index, (benchmark, found) in enumerate(list(evaluations.items())[:MOST_LINES]):
        steps = np.array([metrics.step for metrics in found], dtype=np.float64)
        steps += index * 0.012 * np.ptp(steps)  # so that the intervals do not overlap
        value, low, high = _columns(metrics.mean for metrics in found)
        ax.errorbar(
            steps,
            value,
            yerr=np.maximum(np.stack([value - low, high - value]), 0),  # it may be negative by a rounding error
            color=SERIES[index],
            marker=_MARKERS[index],
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            elinewidth=1.0,
            label=labels[benchmark],
        )
    ax.set_ylim(0, None)
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.set_xlabel("training steps")
    ax.set_ylabel("mean@n")
    legend_above(ax)


def plot_differences(comparisons: Sequence[ModelComparison], ax: Axes) -> None:
    """Draw the paired differences of mean@n with their 95% intervals, one row per comparison, the first at the top."""
    rows = list(reversed(comparisons))
    for place, comparison in enumerate(rows):
        difference = comparison.scores.mean.difference
        ax.errorbar(
            difference.value,
            place,
            xerr=[[difference.value - difference.low], [difference.high - difference.value]],
            color=SERIES[0] if tone_of(difference) else SERIES[7],
            marker="o",
            elinewidth=1.4,
        )
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.grid(axis="y", color=FAINT)
    ax.set_yticks(range(len(rows)), [_comparison_name(comparison) for comparison in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol=""))
    baseline = label_text(rows[0].baseline, _ROW_POINTS, lines=1)
    ax.set_xlabel(f"difference of mean@n to {baseline},\npercentage points")


def _columns(estimates: Iterable[Estimate]) -> NDArray[np.float64]:
    """Return an array whose rows are the values, the lower limits and the upper limits."""
    return np.array([(one.value, *one.limits) for one in estimates]).T


def _comparison_name(comparison: ModelComparison) -> str:
    names = comparison.candidate, comparison.benchmark or "all benchmarks"
    return "\n".join(label_text(name, _ROW_POINTS, lines=1) for name in names)
