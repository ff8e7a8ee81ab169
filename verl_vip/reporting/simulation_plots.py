"""Pictures of a comparison of simulated arms."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from verl_vip.reporting.labels import label_texts
from verl_vip.reporting.style import INK, PAPER, SERIES, series_style
from verl_vip.simulation.summary import ArmSummary

#: More lines than this would be hard to distinguish.
_MOST_LINES = 7
#: Room for the name of an arm, in points.
_ROW_POINTS = 150.0


def plot_success(summaries: Sequence[ArmSummary], ax: Axes) -> None:
    """Draw mean success against rollouts, averaged over seeds.

    If there are many arms, those named vip, uniform and oracle are drawn, and the others with the best final success.
    Intervals are left out, because most of their width is the variation between data sets, which all arms share.
    """
    shown = _best_known(summaries)
    names = [summary.arm.name for summary in shown]
    style, labels = series_style(names), label_texts(names, _ROW_POINTS, lines=1)
    for k, summary in enumerate(shown):
        ax.plot(
            summary.rollouts,
            summary.success,
            label=labels[summary.arm.name],
            markevery=(k, len(shown) + 1),
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            **style[summary.arm.name],
        )
    ax.set_xlim(left=0)
    ax.set_xlabel("rollouts sampled, pilots and discards included")
    ax.set_ylabel("mean success of all prompts")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.legend(loc="best")


def plot_measure(
    summaries: Sequence[ArmSummary], measure: str, label: str, ax: Axes, least: float | None = None
) -> None:
    """Draw one measure of every arm that has it, the largest at the top, with 95% intervals.

    Args:
        summaries: The arms.
        measure: A key of `verl_vip.simulation.summary.MEASURES`.
        label: The label of the axis.
        ax: The axes to draw into.
        least: The lower limit of the axis. Lower values are written at this end instead of drawn.
    """
    found = [(summary, value) for summary in summaries if (value := summary.measures[measure]) is not None]
    found.sort(key=lambda pair: pair[1].value)
    for row, (summary, value) in enumerate(found):
        colour = SERIES[0] if summary.arm.strategy == "vip" else INK
        if least is not None and value.value < least:
            ax.plot(least, row, marker="<", color=colour, clip_on=False)
            ax.annotate(_percent(round(value.value, 2)), (least, row), (6, 0), textcoords="offset points", va="center")
            continue
        if value.is_bounded:
            low = value.low if least is None else max(value.low, least)
            ax.hlines(row, low, value.high, color=colour, linewidth=1.4)
        ax.plot(value.value, row, marker="o", color=colour, markeredgecolor=PAPER, markeredgewidth=0.6)
    names = label_texts((summary.arm.name for summary, _ in found), _ROW_POINTS, lines=1)
    ax.set_yticks(range(len(found)), [names[summary.arm.name] for summary, _ in found])
    ax.set_ylim(-0.6, len(found) - 0.4)
    if least is not None:
        ax.set_xlim(left=least)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter(lambda share, _: _percent(share))
    ax.set_xlabel(label)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%".replace("-", "\N{MINUS SIGN}")


def _best_known(summaries: Sequence[ArmSummary]) -> list[ArmSummary]:
    fixed = [summary for summary in summaries if summary.arm.name in ("vip", "uniform", "oracle")]
    others = [summary for summary in summaries if summary not in fixed]
    others.sort(key=lambda summary: -summary.success[-1])
    chosen = [*fixed, *others[: _MOST_LINES - len(fixed)]]
    return sorted(chosen, key=lambda summary: -summary.success[-1])
