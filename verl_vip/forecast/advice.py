"""What to set for the prompts of a forecast, including nothing at all."""

from dataclasses import dataclass
from enum import Enum

from verl_vip.forecast.forecast import Forecast
from verl_vip.forecast.gains import has_nothing_to_gain

#: With a smaller share of prompts that can teach, no choice of counts or prompts helps.
_HARDLY_ANY = 0.02
#: With at most this share, a choice has to be sharper.
_FEW = 0.2
#: Labels say nearly as much as prediction if a choice by label has this much of the signal of a choice by prediction.
_NEARLY = 0.8
#: A quarter of the prompts needs this much more signal than the average to be worth a choice.
_WORTH_CHOOSING = 1.5
#: Visits below which prediction has not begun to tell.
_ONE_PASS = 1.5


class Verdict(Enum):
    """What a forecast comes to."""

    UNKNOWN = "the record cannot tell"
    NO_SIGNAL = "hardly any prompt can teach"
    FILTERED = "filtered data"
    ONE_PASS = "prompts do not come back"
    BALANCE = "labels tell nearly as much"
    WORTH_IT = "worth trying"


@dataclass(frozen=True)
class Advice:
    """A verdict, and a sentence or two on what to set."""

    verdict: Verdict
    text: str


def advise(forecast: Forecast) -> Advice:
    """Return what to set."""
    known, usual = forecast.gain(None), forecast.gain(2)
    if known is None or usual is None:
        return Advice(
            Verdict.UNKNOWN,
            "One rollout of a prompt does not show how prompts differ. Record two or more of each, then ask again.",
        )
    if forecast.teaches.high < _HARDLY_ANY:
        side = "hard" if forecast.success < 1 / 2 else "easy"
        return Advice(
            Verdict.NO_SIGNAL,
            f"Nothing: the data is too {side} for this model, and no choice of counts or prompts makes a gradient.",
        )
    if has_nothing_to_gain(known):
        return Advice(Verdict.FILTERED, "Nothing: filtered data. All prompts can teach alike, so expect no gain.")
    labels = forecast.labels
    by_label = 1.0 if labels is None else labels.top_signal
    if by_label >= max(_NEARLY * usual.top_signal.value, 1.0) and by_label > 1.15:
        return Advice(
            Verdict.BALANCE,
            "+vip=balanced vip.strategy=balanced '~vip.strategy_settings', which needs no prediction: the labels tell "
            "nearly as much.",
        )
    if forecast.is_training and forecast.visits < _ONE_PASS:
        instead = " A draw balanced over labels needs no prediction: +vip=balanced." if labels is not None else ""
        return Advice(
            Verdict.ONE_PASS,
            "Nothing, unless training comes back to its prompts: prediction says next to nothing of a new "
            f"prompt.{instead}",
        )
    text = "+vip=rloo for counts by prediction."
    if forecast.teaches.value <= _FEW:
        text += (
            " Or, to choose the few prompts that can teach, +vip=prioritized vip.strategy_settings.exponent=4 with a pool "
            "of 12 times vip.budget."
        )
    elif usual.top_signal.value >= _WORTH_CHOOSING:
        text += " Or +vip=prioritized with a pool of 6 times vip.budget, to choose prompts."
    return Advice(
        Verdict.WORTH_IT, f"{text} Compare with vip.strategy=uniform; a smaller variance is not yet accuracy."
    )
