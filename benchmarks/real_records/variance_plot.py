"""The picture of the variance that each predictor's counts leave, over the steps of the recorded run."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from benchmarks.real_records.scores import ScoredVisits
from verl_vip.reporting.axes import legend_above
from verl_vip.reporting.style import series_style

#: Ranges of steps: one or two epochs each at first, and fifty steps later.
EDGES = (0, 9, 19, 29, 39, 57, 76, 95, 150, 200, 250, 300, 350, 400, 450, 500)


def plot_variance_left(visits: Mapping[str, Sequence[ScoredVisits]], ax: Axes) -> None:
    """Plot RLOO's gradient variance as a share of equal counts', for each predictor over all of its placements."""
    style = series_style(visits)
    for name, placements in visits.items():
        steps, left = [], []
        for first, last in pairwise(EDGES):
            own = sum(float(one.scored["rloo"][first:last].sum()) for one in placements)
            even = sum(float(one.scored["even rloo"][first:last].sum()) for one in placements)
            steps.append((first + 1 + last) / 2)
            left.append(own / even)
        ax.plot(steps, left, label=name.replace("_", " "), **style[name])
    ax.axhline(1.0, color="gray", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xticks([5, 10, 20, 50, 100, 200, 500])
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    ax.set_xlabel("step")
    ax.set_ylabel("variance left")
    legend_above(ax)
