"""One training step in words, for the console."""

import statistics

import numpy as np
from numpy.typing import NDArray

from verl_vip.records.schema import StepRecord
from verl_vip.text import readable

#: Bounds of the five bands of predicted success probability.
BANDS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

_LABEL_WIDTH = 20


def format_step(record: StepRecord) -> str:
    """Return one line: rewards, whether the budget was kept, the counts, and what was spent so far.

    `n` gives the least, median and most rollouts of a prompt. The five numbers after it are the mean counts
    of prompts whose predicted success probability is in [0, .2), [.2, .4) and so on (`-` where there are
    none), so that a glance shows where the rollouts went.
    """
    reward = sum(record.successes) / max(sum(record.observed), 1)
    low, middle, high = _spread(record.observed)
    return (
        f"step {record.step} | reward {reward:.3f} | {_budget(record)} | "
        f"n {low}/{middle}/{high} | n by fifth of p̂ {_band_means(record)} | total {record.rollouts_total:,}"
    )


def format_groups(record: StepRecord, limit: int = 8) -> str:
    """Return a table of prompt groups, ordered by count and thinned evenly to at most `limit` rows.

    Args:
        record: The step.
        limit: Most rows below the heading, at least 1.
    """
    order = sorted(range(len(record.ids)), key=lambda row: (-record.requested[row], row))
    shown = order
    if len(order) > limit:
        shown = [order[round(rank)] for rank in np.linspace(0, len(order) - 1, limit)]
    # p̂ is two characters and one column wide, so its heading takes one more.
    lines = [f"{'prompt':<{_LABEL_WIDTH}}  {'p̂':>6}  {'requested':>9}  {'observed':>8}  {'successes':>9}"]
    lines += [
        f"{_clip(record.labels[row]):<{_LABEL_WIDTH}}  {record.predicted[row]:>5.2f}  "
        f"{record.requested[row]:>9}  {record.observed[row]:>8}  {record.successes[row]:>9g}"
        for row in shown
    ]
    if len(shown) < len(order):
        lines.append(f"({len(shown)} of {len(order)} prompts, from most to fewest rollouts)")
    return "\n".join(lines)


def bands_of(predicted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each success probability the band of `BANDS` it falls into; 1 belongs to the last."""
    return np.clip(np.digitize(predicted, BANDS) - 1, 0, len(BANDS) - 2)


def _budget(record: StepRecord) -> str:
    asked, got = sum(record.requested), sum(record.observed)
    head = f"{got} rollouts over {len(record.ids)} prompts"
    if record.requested != record.observed:
        wrong = sum(a != b for a, b in zip(record.requested, record.observed, strict=True))
        return f"{head} (REQUESTED {asked}, {wrong} prompts differ)"
    if not record.keeps_budget:
        return f"{head} (BUDGET {record.budget} NOT KEPT)"
    if record.spends_all:
        return f"{head} (requested = observed, no padding)"
    rounds = "1 round" if record.rounds == 1 else f"{record.rounds} rounds"
    return f"{head} of at most {record.budget} (requested = observed, {sum(record.trained)} kept, {rounds})"


def _spread(counts: list[int]) -> tuple[int, str, int]:
    return min(counts, default=0), f"{statistics.median(counts or [0]):g}", max(counts, default=0)


def _band_means(record: StepRecord) -> str:
    band = bands_of(np.array(record.predicted))
    counts = np.array(record.observed)
    means = (counts[band == k].mean() if (band == k).any() else None for k in range(len(BANDS) - 1))
    return " ".join("-" if mean is None else f"{mean:.1f}" for mean in means)


def _clip(label: str) -> str:
    text = readable(" ".join(label.split()))
    return text if len(text) <= _LABEL_WIDTH else text[: _LABEL_WIDTH - 1] + "…"
