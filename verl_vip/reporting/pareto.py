"""Accuracy against rollouts of several groups of runs, and their Pareto front."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from verl_vip.reporting.axes import count_axis, legend_above, percent_axis
from verl_vip.reporting.curves import Groups
from verl_vip.reporting.labels import label_texts
from verl_vip.reporting.seeds import accuracy_curves, spent_rollouts
from verl_vip.reporting.style import INK, PAPER, series_style
from verl_vip.statistics.intervals import Estimate

#: With more groups, the legend names only the strategies; the table has their other settings.
_MOST_NAMED = 8
#: Distance between points of equal cost, whose whiskers would otherwise overlap.
_APART_PT = 5.0


@dataclass(frozen=True)
class Outcome:
    """The outcome of one group: means over its runs at their last common validation.

    Attributes:
        group: The name of the group.
        runs: The number of runs.
        rollouts: The training rollouts used.
        accuracy: The validation accuracy. Its 95% interval is over seeds, or over problems for one run. It is NaN for
            two runs.
        on_front: Whether no other group reached the same accuracy with fewer rollouts, or a higher one with as many.
    """

    group: str
    runs: int
    rollouts: float
    accuracy: Estimate
    on_front: bool


def outcomes(groups: Groups) -> list[Outcome]:
    """Return the outcomes of the groups, in ascending order of rollouts.

    If the runs of a group were never validated at the same step, each of them has its own outcome. Runs without any
    validation have none.
    """
    ends = []
    for name, runs in groups.items():
        for curve in accuracy_curves(runs, spent_rollouts):
            accuracy = Estimate(float(curve.mean[-1]), float(curve.low[-1]), float(curve.high[-1]))
            ends.append((name, len(curve.runs), float(curve.x[-1]), accuracy))
    best = front([(rollouts, accuracy.value) for _, _, rollouts, accuracy in ends])
    return sorted(
        (Outcome(*end, on_front=k in best) for k, end in enumerate(ends)),
        key=lambda outcome: (outcome.rollouts, -outcome.accuracy.value),
    )


def front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Return the indices of the points that no other point dominates.

    A point dominates a different point if its cost is not higher and its accuracy is not lower.

    Args:
        points: The cost and the accuracy of each point.
    """
    return {
        k
        for k, (cost, gain) in enumerate(points)
        if not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
    }


def plot_pareto(results: Sequence[Outcome], ax: Axes) -> None:
    """Draw the accuracy of every group against its rollouts, with its interval, and the front as a step function.

    Args:
        results: The outcomes of `outcomes`, at least one.
        ax: The axes to draw into.
    """
    best = [result for result in results if result.on_front]
    largest = max(result.rollouts for result in results)
    ax.step(
        [*(result.rollouts for result in best), 1.05 * largest],
        [*(result.accuracy.value for result in best), best[-1].accuracy.value],
        where="post",
        color=INK,
        linewidth=0.9,
        linestyle="--",
        label="front",
        zorder=1,
    )
    strategies = {result.group: result.group.partition(" (")[0] for result in results}
    # The colour shows the strategy. Other settings need no name if the rollouts distinguish the groups of a strategy.
    told_by_cost = len({(strategies[result.group], result.rollouts) for result in results}) == len(results)
    by_strategy = (told_by_cost and len(set(strategies.values())) > 1) or len(strategies) > _MOST_NAMED
    names = {group: strategy if by_strategy else group for group, strategy in strategies.items()}
    style = series_style(names.values())
    labels = label_texts(names.values())
    shown: set[str] = set()
    for result, apart in zip(results, _apart([result.rollouts for result in results]), strict=True):
        name = names[result.group]
        look = {**style[name], "linestyle": "none", "markeredgecolor": PAPER, "markeredgewidth": 0.6}
        aside = ax.transData + ScaledTranslation(_APART_PT / 72 * apart, 0, ax.figure.dpi_scale_trans)
        ax.vlines(result.rollouts, *result.accuracy.limits, color=look["color"], linewidth=1.1, transform=aside)
        label = "_nolegend_" if name in shown else labels[name]
        shown.add(name)
        ax.plot(result.rollouts, result.accuracy.value, label=label, markersize=6, transform=aside, **look)
    ax.set_ylim(*_span([value for result in results for value in (result.accuracy.value, *result.accuracy.limits)]))
    ax.set_xlabel("training rollouts spent")
    ax.set_ylabel("validation accuracy")
    percent_axis(ax)
    count_axis(ax, 1.03 * largest)
    legend_above(ax)


def _apart(costs: Sequence[float]) -> list[float]:
    """Return the position of each cost among equal ones, centred on zero."""
    return [costs[:k].count(cost) - (costs.count(cost) - 1) / 2 for k, cost in enumerate(costs)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    # Matplotlib ignores shifted artists when it computes the limits.
    known = [value for value in values if math.isfinite(value)]
    margin = 0.05 * max(max(known) - min(known), 0.1)
    return min(known) - margin, max(known) + margin
