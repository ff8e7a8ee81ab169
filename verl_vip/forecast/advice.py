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
#: With fewer prompts than this there is no verdict, and this many are usually enough for one.
_LEAST_PROMPTS, _ENOUGH_PROMPTS = 50, 200
#: More rollouts of each prompt help more than prompts do, below so many.
_ENOUGH_ROLLOUTS = 8
#: No more prompts than this times those of the record are asked for; then the gain is near its limit, and small.
_MOST_TIMES = 20
#: The budget of the example, and the candidates for each of its rollouts.
_BUDGET, _POOL, _SHARP_POOL = 64, 6, 12
_STEP = f"a budget of {_BUDGET} rollouts in a step"
_RECIPES = "'hydra.searchpath=[pkg://verl_vip.recipes]'"
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


@dataclass(frozen=True)
class _Question:
    """Whether a gain is worth it: `prompts` more settle it, 0 if it is settled; None if no number would."""

    yes: bool
    no: bool
    prompts: int | None


def _ask(gain: Estimate, limit: float, prompts: int, *, below: bool) -> _Question:
    """Return whether a gain lies below, or else above, a limit. An interval is shorter by the root of its prompts."""
    yes, no = (gain.high <= limit, gain.low > limit) if below else (gain.low >= limit, gain.high < limit)
    if yes or no:
        return _Question(yes, no, 0)
    far = gain.high - gain.value if gain.value <= limit else gain.value - gain.low
    times = (far / max(abs(gain.value - limit), 1e-9)) ** 2
    return _Question(False, False, round((times - 1) * prompts) if 1 < times <= _MOST_TIMES else None)


def is_filtered(teaches: Estimate, known: Gain) -> bool:
    """Return whether nearly all prompts can teach alike, so that even known probabilities gain next to nothing.

    Args:
        teaches: The share of prompts that can teach.
        known: The gain from known success probabilities.
    """
    alike = known.variance_left.low >= _WORTH_MOVING and known.top_signal.value <= _FILTERED_SIGNAL
    return alike and teaches.value >= _NEARLY_ALL


def advise(forecast: Forecast) -> Advice:
    """Return what to set; with too little recorded, what to record."""
    known, usual = forecast.gain(None), forecast.gain(2)
    if forecast.prompts < _LEAST_PROMPTS:
        more = _ENOUGH_PROMPTS - forecast.prompts
        each = "" if forecast.several else ", with two or more rollouts of each"
        return Advice(Verdict.UNKNOWN, f"Too few prompts: record about {more} more{each}, then ask again.")
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
    moving = _ask(usual.variance_left, _WORTH_MOVING, forecast.prompts, below=True)
    choosing = _ask(usual.top_signal, _WORTH_CHOOSING, forecast.prompts, below=False)
    if moving.no and choosing.no:
        return Advice(Verdict.LITTLE, "Nothing: prompts differ too little for prediction to gain much.")
    if not (moving.yes or choosing.yes):
        return Advice(Verdict.UNKNOWN, _what_to_record(forecast, moving, choosing))
    if forecast.labels is not None and (by_label := _by_label(forecast, forecast.labels, usual)) is not None:
        return by_label
    if forecast.is_training and forecast.visits < _ONE_PASS:
        return Advice(
            Verdict.ONE_PASS,
            "Nothing, unless training comes back to its prompts: prediction says next to nothing of a new prompt.",
        )
    return Advice(Verdict.WORTH_IT, _presets(forecast, moving.yes, choosing.yes))


def _what_to_record(forecast: Forecast, *questions: _Question) -> str:
    """Return what would settle the open questions."""
    begin = "The intervals leave open whether it is worth it: record"
    if forecast.rollouts < _ENOUGH_ROLLOUTS * forecast.prompts:
        return f"{begin} {_ENOUGH_ROLLOUTS} or more rollouts of each prompt, then ask again."
    counts = [question.prompts for question in questions if question.prompts]
    if counts:
        return f"{begin} about {min(counts):,} more prompts, then ask again."
    return (
        "The gain is near the limit of what is worth it, so that more prompts would hardly settle it. Expect little, "
        "and compare with vip.strategy=uniform."
    )


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
            f"{_RECIPES} +vip=balanced{clusters} {pool_overrides()} for {_STEP}. It needs no prediction: a draw even "
            f"over the {groups} does nearly as well.",
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
    options = [f"{_RECIPES} +vip=rloo for counts by prediction"] if moving else []
    if forecast.teaches.value <= _FEW:
        options.append(
            f"{_RECIPES} +vip=prioritized vip.strategy_settings.exponent=4 {pool_overrides(_SHARP_POOL)} to choose the "
            f"few prompts that can teach, for {_STEP}"
        )
    elif choosing:
        options.append(f"{_RECIPES} +vip=prioritized {pool_overrides(_POOL)} to choose prompts, for {_STEP}")
    text = ", or ".join(options)
    return f"{text}. Compare with vip.strategy=uniform; a smaller variance is not yet accuracy."


def pool_overrides(times: int = _POOL) -> str:
    """Return the overrides with which verl's batch is a pool.

    Args:
        times: Candidates for each rollout.
    """
    return (
        f"data.train_batch_size={times * _BUDGET} vip.budget={_BUDGET} "
        f"actor_rollout_ref.actor.ppo_mini_batch_size={_BUDGET} actor_rollout_ref.rollout.n=1"
    )
