"""Pictures of a forecast. Each function draws into `ax` and returns nothing."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from verl_vip.forecast.forecast import Forecast
from verl_vip.forecast.pool import TEACHES, Window
from verl_vip.reporting.axes import legend_above, percent_axis, step_axis
from verl_vip.reporting.style import FAINT, INK, SERIES
from verl_vip.statistics.success_distribution import GRID

_BINS = 20


def plot_distribution(forecast: Forecast, ax: Axes) -> None:
    """Draw the estimated distribution of success probabilities; prompts that can teach have another colour."""
    edges = np.linspace(0, 1, _BINS + 1)
    low, high = TEACHES
    inside = (low < GRID) & (high > GRID)
    for mine, colour, label in ((inside, SERIES[0], "can teach"), (~inside, SERIES[7], "cannot")):
        shares, _ = np.histogram(GRID[mine], edges, weights=forecast.pool.weight[mine])
        ax.bar(edges[:-1], shares, width=1 / _BINS, align="edge", color=colour, alpha=0.85, linewidth=0, label=label)
    ax.set_xlim(0, 1)
    ax.set_xlabel("success probability")
    ax.set_ylabel("share of prompts")
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    legend_above(ax)


def plot_gains(forecast: Forecast, ax: Axes) -> None:
    """Draw the variance that counts by prediction leave, against the earlier groups of a prompt."""
    known = forecast.gain(None)
    seen = [gain for gain in forecast.gains if gain.visits is not None]
    x = np.array([gain.visits for gain in seen], dtype=np.float64)
    ax.fill_between(
        x,
        [gain.variance_left.low for gain in seen],
        [gain.variance_left.high for gain in seen],
        color=SERIES[0],
        alpha=0.2,
        linewidth=0,
    )
    ax.plot(x, [gain.variance_left.value for gain in seen], color=SERIES[0], marker="o", label="known from groups")
    if known is not None:
        ax.axhline(known.variance_left.value, color=SERIES[1], linestyle="--", label="p known")
    ax.axhline(1.0, color=INK, linewidth=0.8, linestyle=":", label="equal counts")
    ax.set_xlabel("earlier groups of a prompt")
    ax.set_ylabel("gradient variance left")
    percent_axis(ax)
    legend_above(ax)


def plot_teaching(windows: tuple[Window, ...], ax: Axes) -> None:
    """Draw the share of prompts that can teach over training, with its 95% intervals."""
    x = np.array([(window.first + window.last) / 2 for window in windows])
    value, low, high = (
        np.array([getattr(window.teaches, name) for window in windows]) for name in ("value", "low", "high")
    )
    ax.fill_between(x, low, high, color=FAINT, linewidth=0)
    ax.plot(x, value, color=SERIES[0], marker="o")
    ax.set_ylim(0, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    step_axis(ax)
    ax.set_ylabel("prompts that can teach")
