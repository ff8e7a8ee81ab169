"""What to set for the prompts of a forecast, including nothing at all."""

from dataclasses import dataclass
from enum import Enum

from verl_vip.forecast.forecast import Forecast
from verl_vip.forecast.gains import Gain
from verl_vip.forecast.labels import LabelEffect
from verl_vip.statistics.intervals import Estimate

#: With at most this share, a choice has to be sharper.
_FEW = 0.2
#: With at least this share, the data is filtered if knowing the probabilities gains next to nothing.
_NEARLY_ALL = 0.9
#: Counts are worth moving if this much of the gradient variance is left at most, once two groups are known.
_WORTH_MOVING = 0.95
#: Prompts are worth choosing if a quarter of them has this much more signal than the average.
_WORTH_CHOOSING = 1.5
_FILTERED_SIGNAL = 1.25
#: Labels say nearly as much as prediction if a choice by label has this much of the signal of a choice by prediction.
_NEARLY = 0.8
#: Visits below which prediction has not begun to tell.
_ONE_PASS = 1.5


class Verdict(Enum):
    """What a forecast comes to."""

    UNKNOWN = "the record cannot tell"
    NO_SIGNAL = "hardly any prompt can teach"
    FILTERED = "filtered data: expect nothing"
    LITTLE = "little to gain"
    ONE_PASS = "prompts do not come back"
    BALANCE = "a draw balanced over labels does as well"
    LABELS = "labels do as well"
    WORTH_IT = "worth trying"


@dataclass(frozen=True)
class Advice:
    """A verdict, and a sentence or two on what to set."""

    verdict: Verdict
    text: str


def is_filtered(teaches: Estimate, known: Gain) -> bool:
    """Return whether nearly all prompts can teach alike, so that even known probabilities gain next to nothing.

    Args:
        teaches: The share of prompts that can teach.
        known: The gain from known success probabilities.
    """
    alike = known.variance_left.low >= _WORTH_MOVING and known.top_signal.value <= _FILTERED_SIGNAL
    return alike and teaches.value >= _NEARLY_ALL


def advise(forecast: Forecast) -> Advice:
    """Return what to set."""
    known, usual = forecast.gain(None), forecast.gain(2)
    if forecast.has_no_signal:
        return _no_signal(forecast)
    if known is None or usual is None:
        return Advice(
            Verdict.UNKNOWN,
            "One rollout of a prompt does not show how prompts differ. Record two or more of each, then ask again.",
        )
    return _where_prompts_differ(forecast, known, usual)


def _where_prompts_differ(forecast: Forecast, known: Gain, usual: Gain) -> Advice:
    if is_filtered(forecast.teaches, known):
        return Advice(
            Verdict.FILTERED, "Nothing: filtered data. Nearly all prompts can teach alike, so expect no gain."
        )
    moving = usual.variance_left.value <= _WORTH_MOVING
    choosing = usual.top_signal.value >= _WORTH_CHOOSING
    if not (moving or choosing):
        return Advice(Verdict.LITTLE, "Nothing: prompts differ too little for prediction to gain much.")
    if forecast.labels is not None and (by_label := _by_label(forecast, forecast.labels, usual)) is not None:
        return by_label
    if forecast.is_training and forecast.visits < _ONE_PASS:
        return Advice(
            Verdict.ONE_PASS,
            "Nothing, unless training comes back to its prompts: prediction says next to nothing of a new prompt.",
        )
    return Advice(Verdict.WORTH_IT, _presets(forecast, moving, choosing))


def _no_signal(forecast: Forecast) -> Advice:
    side = "hard" if forecast.success < 1 / 2 else "easy"
    return Advice(
        Verdict.NO_SIGNAL,
        f"Nothing: the data is too {side} for this model, and no choice of counts or prompts makes a gradient.",
    )


def _by_label(forecast: Forecast, labels: LabelEffect, usual: Gain) -> Advice | None:
    """Return what labels do nearly as well as prediction; None if they do not."""
    enough = max(_NEARLY * usual.top_signal.value, _FILTERED_SIGNAL)
    if labels.even_signal >= enough:
        clusters = " vip.strategy=balanced_clusters" if forecast.clustered else ""
        groups = "clusters" if forecast.clustered else "labels"
        return Advice(
            Verdict.BALANCE,
            f"+vip=balanced{clusters}, which needs no prediction: a draw even over the {groups} does nearly as well.",
        )
    if labels.top_signal >= enough and not forecast.clustered:
        worst = min(labels.rows, key=lambda row: row.signal)
        return Advice(
            Verdict.LABELS,
            "Less of the labels that cannot teach: choosing by label does nearly as well as prediction. "
            f"{worst.label!r} has the least signal.",
        )
    return None


def _presets(forecast: Forecast, moving: bool, choosing: bool) -> str:
    options = ["+vip=rloo for counts by prediction"] if moving else []
    if forecast.teaches.value <= _FEW:
        options.append(
            "+vip=prioritized vip.strategy_settings.exponent=4, with a pool of 12 times vip.budget, to choose the few "
            "prompts that can teach"
        )
    elif choosing:
        options.append("+vip=prioritized, with a pool of 6 times vip.budget, to choose prompts")
    text = ", or ".join(options)
    return f"{text}. Compare with vip.strategy=uniform; a smaller variance is not yet accuracy."
