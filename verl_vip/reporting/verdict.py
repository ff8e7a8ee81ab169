"""The verdict at the top of a comparison page: the gain over uniform counts, and the cost."""

import statistics
from collections.abc import Mapping, Sequence

from verl_vip.records.records import RunRecords
from verl_vip.records.timing import total_training_seconds
from verl_vip.reporting.markup import MISSING, Tone, card, duration, tone_of
from verl_vip.reporting.paired import BASELINE, Advantage, advantage

RunGroups = Mapping[str, Mapping[str, RunRecords]]


def verdict_cards(groups: RunGroups) -> list[str]:
    """Return a card for each strategy that can be compared with the baseline, and a card on the cost.

    Args:
        groups: Runs that share everything but the seed, by group and name. Groups are named `STRATEGY` or
            `STRATEGY (settings)`.
    """
    runs = {name: run for members in groups.values() for name, run in members.items()}
    found: dict[str, list[Advantage]] = {}
    for group, members in groups.items():
        if (one := advantage(members, runs)) is not None:
            found.setdefault(group.partition(" (")[0], []).append(one)
    return [*(_advantage_card(strategy, ones) for strategy, ones in found.items()), _cost_card(list(runs.values()))]


def _advantage_card(strategy: str, found: Sequence[Advantage]) -> str:
    title = f"{strategy} against {BASELINE}"
    values = [100 * one.difference.value for one in found]
    tones = [tone_of(one.difference) for one in found]
    tone: Tone = tones[0] if len(set(tones)) == 1 else ""
    if len(found) > 1:
        beyond = (
            f"beyond chance above in {tones.count('good')} and below in {tones.count('bad')} of {len(found)} settings"
        )
        text = f"{min(values):+.1f} to {max(values):+.1f} points"
        return card(title, text, f"of accuracy at equal rollouts, {beyond}", tone)
    (one,) = found
    if not one.difference.is_bounded:
        sure = "a single seed, so this may be chance"
    else:
        low, high = one.difference.scaled(100).limits
        sure = f"95% interval {low:+.1f} to {high:+.1f} over {one.pairs} seeds"
        sure += "" if tone else ", which may be chance"
    return card(title, f"{values[0]:+.1f} points", f"of accuracy after {one.rollouts:,} rollouts each; {sure}", tone)


def _cost_card(runs: Sequence[RunRecords]) -> str:
    seconds = statistics.fmean(total_training_seconds(run) for run in runs)
    tokens = [sum(map(sum, (step.tokens or [] for step in run.steps))) for run in runs]
    spent = f"{_span(tokens)} response tokens and " if all(tokens) else ""
    rollouts = _span([run.rollouts_total for run in runs])
    return card("Rollouts of a run", rollouts, f"{spent}{duration(seconds)} of training on average")


def _span(counts: Sequence[int]) -> str:
    if not counts:
        return MISSING
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} – {most:,}"
