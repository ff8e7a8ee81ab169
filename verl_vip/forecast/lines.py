"""The forecast as ten lines of text, or fewer where a line would say nothing."""

from verl_vip.forecast.advice import advise
from verl_vip.forecast.forecast import Forecast
from verl_vip.forecast.gains import Gain
from verl_vip.forecast.labels import LEAST_PROMPTS
from verl_vip.forecast.pool import TEACHES, Window
from verl_vip.statistics.intervals import Estimate
from verl_vip.statistics.success_distribution import GRID
from verl_vip.text import counted, few

_SINGLE = "not known: one rollout of a prompt does not show how prompts differ"
_NOTHING = "nothing to gain where no prompt can teach"


def forecast_lines(forecast: Forecast) -> list[tuple[str, str]]:
    """Return the heading and the text of each line: ten, or fewer where prompts or groups have a single rollout."""
    usual, known = forecast.gain(2), forecast.gain(None)
    if usual is None or known is None:
        counts = choice = _NOTHING
    else:
        counts, choice = _counts(usual, known, forecast), _choice(usual, known)
    between = [
        *([("groups without signal", _no_signal(forecast))] if forecast.group_size > 1 else []),
        ("prompts that can teach", _teaches(forecast)),
        ("during the record", _moved(forecast)),
        ("counts by prediction", counts),
        ("choosing prompts", choice),
    ]
    return [
        ("record", _record(forecast)),
        *(between if forecast.several else [("prompts that can teach", _SINGLE)]),
        ("labels", _labels(forecast)),
        ("visits", _visits(forecast)),
        ("not read", _not_read(forecast)),
        ("set", advise(forecast).text),
    ]


def _record(forecast: Forecast) -> str:
    first, last = forecast.steps
    steps = f", steps {first} to {last}" if forecast.is_training else ""
    graded = "; rewards are graded, and counted as shares of success" if forecast.graded else ""
    return (
        f"{forecast.kind.value}, {counted(forecast.prompts, 'prompt')}, {counted(forecast.groups, 'group')} with "
        f"{_size(forecast.group_size)}{steps}; mean success {forecast.success:.0%}{graded}"
    )


def _size(mean: float) -> str:
    return "1 rollout each" if mean == 1 else f"{mean:.3g} rollouts on average"


def _no_signal(forecast: Forecast) -> str:
    total = forecast.wrong + forecast.right + forecast.alike
    alike = f", alike in between {forecast.alike:.0%}" if forecast.alike else ""
    text = f"{total:.0%} as recorded (all wrong {forecast.wrong:.0%}, all right {forecast.right:.0%}{alike})"
    return text if forecast.is_training else f"{text}; {_expected(forecast):.0%} in groups of {forecast.group.rollouts}"


def _expected(forecast: Forecast) -> float:
    """Return the share of groups without signal that the distribution implies for training."""
    n = forecast.group.rollouts
    return forecast.pool.mean_of(GRID**n + (1 - GRID) ** n)


def _teaches(forecast: Forecast) -> str:
    low, high = TEACHES
    return (
        f"{_range(forecast.teaches)} of the prompts have {low:.0%} < p < {high:.0%}; {forecast.hopeless:.0%} are "
        f"below, {forecast.solved:.0%} above"
    )


def _moved(forecast: Forecast) -> str:
    if not forecast.gains:
        return "no prompt could teach"
    if not forecast.windows:
        return "one state of the policy" if not forecast.is_training else "too few groups to show how that moved"
    if all(window.teaches.limits == (0, 1) for window in forecast.windows):
        return "too few rollouts of a prompt to show how that moved"
    return "could teach: " + ", ".join(f"{_steps(one)} {_range(one.teaches)}" for one in forecast.windows)


def _steps(window: Window) -> str:
    return f"step {window.first}" if window.first == window.last else f"steps {window.first}-{window.last}"


def _counts(usual: Gain, known: Gain, forecast: Forecast) -> str:
    return (
        f"leave {_range(usual.variance_left)} of the gradient variance of {forecast.group.rollouts} rollouts each, "
        f"once two groups of a prompt are known; knowing p would leave {_range(known.variance_left)}"
    )


def _choice(usual: Gain, known: Gain) -> str:
    return (
        f"the best quarter has {_times(usual.top_signal)} times the average signal after two groups; knowing p, "
        f"{_times(known.top_signal)} times"
    )


def _labels(forecast: Forecast) -> str:
    effect = forecast.labels
    if effect is None:
        return f"{_without_effect(forecast.label_names)}, and {_without_clusters(forecast)}"
    groups = "clusters of the texts" if forecast.clustered else "labels"
    return (
        f"{len(effect.rows)} {groups} explain {_range(effect.share)} of how prompts differ; a draw even over them has "
        f"{effect.even_signal:.1f} times the average signal, the best quarter by them {effect.top_signal:.1f} times"
    )


def _without_effect(names: tuple[str, ...]) -> str:
    """Return why labels say nothing of how prompts differ."""
    if not names:
        return "no labels are recorded"
    if len(names) == 1:
        return f"all labels are {names[0]!r}"
    return f"{len(names):,} labels, of which fewer than two have {LEAST_PROMPTS} prompts with two or more rollouts"


def _without_clusters(forecast: Forecast) -> str:
    return "the texts do not cluster" if forecast.has_texts else "no texts of prompts are recorded"


def _visits(forecast: Forecast) -> str:
    if not forecast.is_training:
        return "one measurement of each prompt; prediction gains from a prompt's second visit in training on"
    if forecast.visits < 2:
        return (
            f"{forecast.visits:.1f} a prompt, {forecast.seen_once:.0%} seen once; prediction gains from the second "
            "visit on"
        )
    return f"{forecast.visits:.1f} a prompt, {forecast.seen_once:.0%} seen once; enough for prediction to learn from"


def _not_read(forecast: Forecast) -> str:
    if not forecast.left_out:
        return "nothing was left out"
    return few(forecast.left_out, 1, " (all are on the page)")


def _range(estimate: Estimate) -> str:
    return f"{estimate:.0%}"


def _times(estimate: Estimate) -> str:
    return f"{estimate:.1f}"
