"""Pictures of a comparison of simulated arms."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, PercentFormatter

from verl_vip.reporting.style import INK, PAPER, SERIES, series_style
from verl_vip.simulation.summary import ArmSummary

#: More lines than this cannot be told apart.
_MOST_LINES = 7


def plot_success(summaries: Sequence[ArmSummary], ax: Axes) -> None:
    """Draw mean success against rollouts with 95% intervals.

    Of many arms, those of strategies vip, uniform and oracle are drawn, and the best of the others at the end.
    """
    shown = _best_known(summaries)
    style = series_style([summary.arm.name for summary in shown])
    for summary in shown:
        name = summary.arm.name
        ax.plot(
            summary.rollouts,
            summary.success,
            label=name,
            markevery=0.12,
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            **style[name],
        )
        ax.fill_between(
            summary.rollouts,
            summary.success - summary.success_half_width,
            summary.success + summary.success_half_width,
            color=style[name]["color"],
            alpha=0.12,
            linewidth=0,
        )
    ax.set_xlim(left=0)
    ax.set_xlabel("rollouts sampled, pilots and discards included")
    ax.set_ylabel("mean success of all prompts")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.legend(loc="best")


def plot_measure(summaries: Sequence[ArmSummary], measure: str, label: str, ax: Axes) -> None:
    """Draw one measure of every arm that has it, the largest at the top, with 95% intervals.

    Args:
        summaries: The arms.
        measure: A key of `verl_vip.simulation.summary.MEASURES`.
        label: Of the axis.
        ax: Where to draw.
    """
    found = [(summary, value) for summary in summaries if (value := summary.measures[measure]) is not None]
    found.sort(key=lambda pair: pair[1].mean)
    means = np.array([value.mean for _, value in found])
    widths = np.array([value.half_width for _, value in found])
    rows = np.arange(len(found))
    colours = [SERIES[0] if summary.arm.strategy == "vip" else INK for summary, _ in found]
    ax.hlines(rows, means - widths, means + widths, color=colours, linewidth=1.4)
    ax.scatter(means, rows, s=20, c=colours, edgecolors=PAPER, linewidths=0.6, zorder=3)
    ax.set_yticks(rows, [summary.arm.name for summary, _ in found])
    ax.set_ylim(-0.6, len(found) - 0.4)
    ax.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.set_xlabel(label)


def _best_known(summaries: Sequence[ArmSummary]) -> list[ArmSummary]:
    fixed = [summary for summary in summaries if summary.arm.name in ("vip", "uniform", "oracle")]
    others = [summary for summary in summaries if summary not in fixed]
    others.sort(key=lambda summary: -summary.success[-1])
    chosen = [*fixed, *others[: _MOST_LINES - len(fixed)]]
    return sorted(chosen, key=lambda summary: -summary.success[-1])
