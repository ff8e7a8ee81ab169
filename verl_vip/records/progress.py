"""A training step as text for the console."""

import math

import numpy as np

from verl_vip.records.schema import StepRecord
from verl_vip.records.step_statistics import prediction_error, signal_at_equal_counts, without_signal
from verl_vip.text import readable

_LABEL_WIDTH = 20
#: The rating of predictions, by the skill that they exceed.
_WORDS = {0.6: "good", 0.3: "fair", 0.1: "weak", -math.inf: "useless"}


def format_step(record: StepRecord) -> str:
    """Return one line on a step: reward, rollouts and their range, groups with signal, prediction error, total so far.

    If the counts differ, "equal counts" is the expected number of groups with signal if the step's rollouts had been
    divided equally. The number after ± is the root mean square error of the predictions, without sampling noise.
    Predictions are rated good if they explain more than 60% of the variance of the success probability between prompts,
    fair above 30%, and weak above 10%. Otherwise they are useless: no better than one number for the whole batch.
    """
    reward = sum(record.successes) / max(sum(record.observed), 1)
    parts = (f"step {record.step}", f"reward {reward:.3f}", _budget(record), _signal(record), _predictions(record))
    return " | ".join((*parts, f"total {record.rollouts_total:,}"))


def format_groups(record: StepRecord, limit: int = 8) -> str:
    """Return a table of prompt groups, ordered by count and thinned evenly to at most `limit` rows.

    Args:
        record: The step.
        limit: The most rows below the heading, at least 1.
    """
    order = sorted(range(len(record.ids)), key=lambda row: (-record.requested[row], row))
    shown = order
    if len(order) > limit:
        shown = [order[round(rank)] for rank in np.linspace(0, len(order) - 1, limit)]
    # p̂ is two characters in one column, so its heading is padded by one more.
    lines = [f"{'prompt':<{_LABEL_WIDTH}}  {'p̂':>6}  {'requested':>9}  {'observed':>8}  {'successes':>9}"]
    lines += [
        f"{_clip(record.labels[row]):<{_LABEL_WIDTH}}  {record.predicted[row]:>5.2f}  "
        f"{record.requested[row]:>9}  {record.observed[row]:>8}  {record.successes[row]:>9g}"
        for row in shown
    ]
    if len(shown) < len(order):
        lines.append(f"({len(shown)} of {len(order)} prompts, from most to fewest rollouts)")
    return "\n".join(lines)


def _budget(record: StepRecord) -> str:
    asked, got = sum(record.requested), sum(record.observed)
    least, most = min(record.observed, default=0), max(record.observed, default=0)
    span = f"{least} per prompt" if least == most else f"{least}-{most} per prompt"
    if not record.keeps_budget:
        return f"{asked:,} ROLLOUTS REQUESTED, BUDGET {record.budget:,}, {span}"
    if record.requested != record.observed:
        wrong = sum(a != b for a, b in zip(record.requested, record.observed, strict=True))
        return f"{got:,} ROLLOUTS, {asked:,} REQUESTED ({wrong} prompts differ), {span}"
    if record.spends_all:
        return f"{got:,} rollouts = budget, {span}"
    rounds = "" if record.rounds == 1 else f" in {record.rounds} rounds"
    return f"{got:,} rollouts of at most {record.budget:,}{rounds}, {sum(record.trained):,} kept, {span}"


def _signal(record: StepRecord) -> str:
    groups = sum(count > 0 for count in record.observed)
    if not groups:
        return "no prompt has rollouts"
    text = f"signal in {round(groups * (1 - sum(without_signal(record))))} of {groups} groups"
    equal = signal_at_equal_counts(record) if len(set(record.observed)) > 1 else None
    return text if equal is None else f"{text} (equal counts ~{equal:.0f})"


def _predictions(record: StepRecord) -> str:
    error = prediction_error(record)
    if error is None:
        return "predictions not rated"
    if math.isnan(error.skill):
        return f"prompts alike, predictions ±{error.rms:.2f}"
    word = next(word for least, word in _WORDS.items() if error.skill > least)
    return f"predictions {word} (±{error.rms:.2f})"


def _clip(label: str) -> str:
    text = readable(" ".join(label.split()))
    return text if len(text) <= _LABEL_WIDTH else text[: _LABEL_WIDTH - 1] + "…"
