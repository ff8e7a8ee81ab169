"""Pictures of one run: its counts, the quality of its predictions, its signal and its overhead.

Each function draws the records of a run into `ax` and returns nothing. The run must have at least one step.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from verl_vip.records.records import RunRecords
from verl_vip.records.step_statistics import BANDS, bands_of, without_signal
from verl_vip.records.timing import overhead_seconds
from verl_vip.reporting.axes import legend_above, step_axis
from verl_vip.reporting.curves import windows
from verl_vip.reporting.labels import label_texts
from verl_vip.reporting.prediction_scores import scored_rows
from verl_vip.reporting.style import BAND_COLOURS, FAINT, INK, PAPER, SERIES
from verl_vip.statistics.calibration import reliability
from verl_vip.statistics.intervals import wilson_interval

FloatArray = NDArray[np.float64]

_BAND_MARKERS = ("o", "s", "^", "D", "v")


def plot_counts_by_prediction(run: RunRecords, ax: Axes, bins: int = 20) -> None:
    """Draw the counts of prompts against their predicted success probability.

    The area of a disc is proportional to the number of prompt groups with that prediction and count, and the line is
    the mean count. Counts are binned if more than forty different ones could occur.
    """
    rows = run.prompts
    column = np.minimum((rows.predicted * bins).astype(int), bins - 1)
    width = max(1, -(-(int(rows.requested.max(initial=1)) + 1) // 40))
    cells, groups = np.unique(np.stack([column, rows.requested // width]), axis=1, return_counts=True)
    ax.scatter(
        (cells[0] + 0.5) / bins,
        cells[1] * width + (width - 1) / 2,
        s=150 * groups / groups.max(initial=1),
        color=SERIES[0],
        alpha=0.55,
        linewidths=0,
        label="prompt groups",
    )
    used = np.unique(column)
    means = [rows.requested[column == k].mean() for k in used]
    ax.plot((used + 0.5) / bins, means, color=SERIES[1], label="mean count")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.08 * max(int(rows.requested.max(initial=1)), 1))
    ax.set_xlabel("predicted success probability, before sampling")
    ax.set_ylabel("rollouts of the prompt")
    legend_above(ax)


def plot_counts_over_time(run: RunRecords, ax: Axes) -> None:
    """Draw the mean count of prompts over training, in five bands of predicted success probability."""
    steps = np.array([record.step for record in run.steps], dtype=np.float64)
    for k, colour in enumerate(BAND_COLOURS):
        means = np.array([_band_mean(record.predicted, record.requested, k) for record in run.steps])
        if np.isfinite(means).any():
            x, y = windows(steps, means)
            label = f"{BANDS[k]:g}–{BANDS[k + 1]:g}"
            ax.plot(x, y, color=colour, label=label, marker=_BAND_MARKERS[k], markevery=_marked(y))
    ax.set_ylim(bottom=0)
    step_axis(ax)
    ax.set_ylabel("mean rollouts a prompt")
    legend_above(ax, title="predicted success probability")


def _marked(y: FloatArray) -> list[int]:
    """Return the points of a line that get a marker: some of all, and those that are invisible without one."""
    known = np.isfinite(np.concatenate([[np.nan], y, [np.nan]]))
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    some = np.zeros(len(y), dtype=bool)
    some[:: max(1, len(y) // 8)] = True
    return [int(k) for k in np.flatnonzero(known[1:-1] & (alone | some))]


def plot_reliability(run: RunRecords, ax: Axes) -> None:
    """Draw the observed success rate against the predicted one, with 95% intervals over prompt groups.

    The bars at the bottom are a histogram of the predictions. The highest bar has an eighth of the plot's height.
    """
    mean, successes, trials = scored_rows(run)
    table = reliability(mean, successes, trials)
    used = (table.prompts > 0).numpy()
    predicted, observed = table.predicted.numpy()[used], table.observed.numpy()[used]
    groups = table.prompts.numpy()[used]
    bounds = np.array([wilson_interval(rate * n, n).limits for rate, n in zip(observed, groups, strict=True)])
    edges = table.edges.numpy()
    ax.bar(
        edges[:-1],
        table.prompts.numpy() / groups.max() / 8,
        width=np.diff(edges),
        align="edge",
        color=FAINT,
        linewidth=0,
    )
    ax.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="perfectly calibrated")
    ax.errorbar(
        predicted,
        observed,
        yerr=np.abs(bounds.T - observed),
        color=SERIES[0],
        marker="o",
        markeredgecolor=PAPER,
        markeredgewidth=0.6,
        elinewidth=1.0,
        label="this run",
    )
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_xlabel("predicted success probability, before sampling")
    ax.set_ylabel("observed success rate")
    legend_above(ax)


def plot_no_signal(run: RunRecords, ax: Axes) -> None:
    """Draw the stacked shares over training of prompt groups whose rewards are all 0, all 1, or equal in between.

    The last kind is left out if it does not occur, as with rewards of 0 and 1.
    """
    steps = np.array([record.step for record in run.steps], dtype=np.float64)
    shares = np.array([without_signal(record) for record in run.steps])
    x, wrong = windows(steps, shares[:, 0])
    kinds = {"all wrong": wrong, "all right": windows(steps, shares[:, 1])[1]}
    if np.nanmax(shares[:, 2]) > 0:
        kinds["alike in between"] = windows(steps, shares[:, 2])[1]
    _areas(ax, x, kinds, (SERIES[0], SERIES[4], SERIES[2]))
    ax.set_ylim(0, max(0.05, float(np.nanmax(sum(kinds.values()))) * 1.15))
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    step_axis(ax)
    ax.set_ylabel("prompt groups without signal")
    legend_above(ax)


def plot_overhead(run: RunRecords, ax: Axes) -> None:
    """Draw the seconds that each part of the package adds to a step, stacked and over training."""
    steps = np.array([record.step for record in run.steps], dtype=np.float64)
    parts = {part: windows(steps, seconds)[1] for part, seconds in overhead_seconds(run).items()}
    _areas(ax, windows(steps, steps)[0], parts, SERIES)
    step_axis(ax)
    ax.set_ylabel("seconds a step")
    legend_above(ax)


def _areas(ax: Axes, x: FloatArray, parts: Mapping[str, FloatArray], colours: Sequence[str]) -> None:
    """Draw stacked areas over training. A single step is drawn one unit wide, so that it is visible."""
    values = np.array(list(parts.values()))
    if len(x) == 1:
        x, values = np.array([x[0] - 0.5, x[0] + 0.5]), np.repeat(values, 2, axis=1)
    ax.stackplot(x, values, colors=list(colours), labels=list(label_texts(parts).values()), alpha=0.8, linewidth=0)
    ax.margins(x=0)


def _band_mean(predicted: list[float], counts: list[int], band: int) -> float:
    mine = bands_of(np.array(predicted)) == band
    return float(np.array(counts)[mine].mean()) if mine.any() else np.nan
