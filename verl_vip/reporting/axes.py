"""Readable axes: shares in percent, counts with an SI suffix such as 20k, and legends outside of the plot."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from verl_vip.reporting.labels import LABEL_SIZE, label_texts, text_width

#: Width of a legend, in points. Entries that do not fit into one row are distributed over several rows.
_LEGEND_POINTS = 330.0
_HANDLE_LENGTH, _HANDLE_PAD, _COLUMN_SPACING = 1.6, 0.8, 1.1


def percent_axis(ax: Axes) -> None:
    """Label the y axis in whole percent. It spans at least ten points, so that no label occurs twice."""
    low, high = ax.get_ylim()
    missing = max(0.1 - (high - low), 0.0)
    ax.set_ylim(max(low - missing / 2, -0.03), min(high + missing / 2, 1.03))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def count_axis(ax: Axes, largest: float, whole: bool = True) -> None:
    """Begin the x axis at zero, with labels such as 20k. The axis has a positive length even if all values are zero.

    Args:
        ax: The axes.
        largest: The largest value on the axis.
        whole: Whether the values are whole numbers.
    """
    ax.set_xlim(-0.02 * largest, 1.03 * largest) if largest > 0 else ax.set_xlim(-0.5, 1)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=whole, steps=[1, 2, 2.5, 5, 10]))
    if whole:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))


def step_axis(ax: Axes) -> None:
    """Label the x axis with whole training steps."""
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlabel("training steps")


def legend_above(ax: Axes, title: str | None = None) -> None:
    """Put the legend of all labelled lines above the axes, in as many columns as the lengths of the labels allow."""
    _, labels = ax.get_legend_handles_labels()
    if not labels:
        return
    legend = ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.12, 1),
        ncols=_columns(labels),
        borderaxespad=0.2,
        handlelength=_HANDLE_LENGTH,
        handletextpad=_HANDLE_PAD,
        columnspacing=_COLUMN_SPACING,
        title=title,
        alignment="left",
    )
    legend.get_title().set_fontsize("small")


def legend_rows(names: Sequence[str]) -> int:
    """Return the number of lines of a legend of these names; 0 for a single name."""
    if len(names) < 2:
        return 0
    labels = list(label_texts(names).values())
    return -(-len(labels) // _columns(labels)) * max(1 + label.count("\n") for label in labels)


def legend_height(names: Sequence[str]) -> float:
    """Return the height in inches of a legend of these names."""
    return 0.16 * legend_rows(names)


def _columns(labels: Sequence[str]) -> int:
    longest = max(text_width(line) for label in labels for line in label.split("\n"))
    gap = _COLUMN_SPACING * LABEL_SIZE
    column = longest + (_HANDLE_LENGTH + _HANDLE_PAD) * LABEL_SIZE + gap
    return max(1, min(len(labels), int((_LEGEND_POINTS + gap) // column)))
