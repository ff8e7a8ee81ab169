"""Curves over the training of one run or several runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from verl_vip.records.records import RunRecords
from verl_vip.reporting.axes import count_axis, legend_above, legend_height, percent_axis
from verl_vip.reporting.labels import label_texts
from verl_vip.reporting.seeds import accuracy_curves, spent_rollouts, spent_seconds, spent_steps, spent_tokens
from verl_vip.reporting.style import PAPER, SERIES, series_style

FloatArray = NDArray[np.float64]
Groups = Mapping[str, Sequence[RunRecords]]

Progress = Literal["rollouts", "tokens", "time", "steps"]

_MOST_FAMILIES = 8
#: With more lines, the bands would cover each other.
_MOST_BANDS = 4
_SPENT: Mapping[Progress, Callable[[RunRecords], FloatArray]] = {
    "rollouts": spent_rollouts,
    "tokens": spent_tokens,
    "time": spent_seconds,
    "steps": spent_steps,
}


def explain_bands(groups: Groups) -> str:
    """Return a sentence for readers that explains the lines, bands and whiskers of `plot_accuracy`."""
    sizes = {sum(bool(run.validations) for run in runs) for runs in groups.values()} - {0}
    interval = "band is the 95% interval"
    if len(groups) > _MOST_BANDS:
        interval = "whisker at a line's end is the 95% interval"
    if sizes == {1}:
        return f"The {interval} over validation problems."
    text = f"A line is the mean of runs that share everything but the seed, the {interval} of that mean over seeds"
    if 1 in sizes:
        text += ", or over validation problems for a single run"
    return text + ("; two runs are too few for one and are drawn as thin lines." if 2 in sizes else ".")


def plot_accuracy(groups: Groups, ax: Axes, against: Progress = "rollouts") -> None:
    """Draw validation accuracy against a measure of cost; see `explain_bands`.

    Args:
        groups: Runs that share everything but the seed, by name in the legend.
        ax: The axes to draw into.
        against: The measure: training rollouts, response tokens, training time without pauses, or training steps.
    """
    style, labels = series_style(groups), label_texts(groups)
    curves = {name: accuracy_curves(runs, _SPENT[against]) for name, runs in groups.items()}
    longest = max((curve.x.max() for members in curves.values() for curve in members), default=0.0)
    scale, unit = (3600.0, "hours") if longest > 2 * 3600 else (60.0, "minutes")
    if against != "time":
        scale = 1.0
    for name, members in curves.items():
        label = labels[name]
        for curve in members:
            x, colour = curve.x / scale, style[name]["color"]
            ax.plot(x, curve.mean, label=label, markeredgecolor=PAPER, markeredgewidth=0.6, **style[name])
            if len(curve.runs) == 2:
                ax.plot(x, curve.runs.T, color=colour, linewidth=0.7, alpha=0.6, label="_nolegend_")
            elif len(x) == 1 or len(groups) > _MOST_BANDS:
                ax.vlines(x[-1], curve.low[-1], curve.high[-1], color=colour, linewidth=1.0)
            else:
                ax.fill_between(x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
            label = "_nolegend_"
    ax.set_xlabel(
        {
            "rollouts": "training rollouts",
            "tokens": "response tokens in training",
            "time": f"training time ({unit})",
            "steps": "training steps",
        }[against]
    )
    ax.set_ylabel("validation accuracy")
    percent_axis(ax)
    count_axis(ax, longest / scale, whole=against != "time")
    if len(groups) > 1:
        legend_above(ax)


def picture_height(groups: Groups) -> float:
    """Return the height in inches of a picture with a legend of these groups above it."""
    return 3.0 + legend_height([*groups])


def plot_family_accuracy(run: RunRecords, ax: Axes) -> None:
    """Draw the validation accuracy of each label against training rollouts, for at most the eight largest labels."""
    families = _largest_families(run)
    labels = label_texts(families)
    for (family, style), colour in zip(series_style(families).items(), SERIES, strict=False):
        seen = [record for record in run.validations if family in record.count]
        ax.plot(
            [record.rollouts_total for record in seen],
            [record.correct[family] / record.count[family] for record in seen],
            label=labels[family],
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            **{**style, "color": colour},
        )
    ax.set_xlabel("training rollouts")
    ax.set_ylabel("validation accuracy")
    percent_axis(ax)
    count_axis(ax, run.validations[-1].rollouts_total)
    legend_above(ax)


def family_picture_height(run: RunRecords) -> float:
    """Return the height in inches of the picture that `plot_family_accuracy` draws."""
    return 3.0 + legend_height(_largest_families(run))


def _largest_families(run: RunRecords) -> list[str]:
    sizes = run.validations[-1].count
    return sorted(sorted(sizes, key=lambda label: -sizes[label])[:_MOST_FAMILIES])


def windows(x: FloatArray, y: FloatArray, most: int = 60) -> tuple[FloatArray, FloatArray]:
    """Return the means of x and y over at most `most` windows of neighbouring steps, without NaN."""
    parts = np.array_split(np.arange(len(x)), min(len(x), most) or 1)
    middle = np.array([x[part].mean() for part in parts if len(part)])
    mean = [y[part][np.isfinite(y[part])] for part in parts if len(part)]
    return middle, np.array([values.mean() if len(values) else np.nan for values in mean])
