"""Groups runs that share everything but the seed, and settings that do not affect results."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from verl_vip.records.records import RunRecords
from verl_vip.records.settings import LENGTH, flatten, is_incidental, shown_settings
from verl_vip.reporting.markup import MISSING


def group_runs(runs: Mapping[str, RunRecords]) -> dict[str, dict[str, RunRecords]]:
    """Group runs by strategy and by the settings in which runs of one strategy differ.

    Args:
        runs: Runs by name.

    Returns:
        The runs of each group by name. Strategies come in the order given, and the groups of a strategy in ascending
        order of the numbers in their settings. Runs of one group differ only in their seeds. A group is named by the
        strategy and, if necessary, by the fewest settings that distinguish it from the strategy's other groups, such as
        `vip (predictor=ridge)`.
    """
    settings = {name: decisive_settings(run) for name, run in runs.items()}
    strategies = {name: strategy_of(run) for name, run in runs.items()}
    peers = {
        strategy: [settings[name] for name in runs if strategies[name] == strategy] for strategy in strategies.values()
    }
    telling = {strategy: _telling_keys(members) for strategy, members in peers.items()}
    every_key = {key for found in settings.values() for key in found}
    groups: dict[str, dict[str, RunRecords]] = {}
    for name, run in runs.items():
        extra = ", ".join(
            f"{_short(key, every_key)}={settings[name].get(key, MISSING)}" for key in telling[strategies[name]]
        )
        group = f"{strategies[name]} ({extra})" if extra else strategies[name]
        groups.setdefault(group, {})[name] = run
    order = list(dict.fromkeys(strategies.values()))
    return {
        name: groups[name]
        for name in sorted(groups, key=lambda name: (order.index(name.partition(" (")[0]), _natural(name)))
    }


def strategy_of(run: RunRecords) -> str:
    """Return the strategy of the last step; for a run without steps, the strategy in its settings."""
    if run.steps:
        return run.steps[-1].strategy
    return str(flatten(run.headers[-1].settings).get("vip.strategy", "no step yet"))


def is_seed(key: str) -> bool:
    """Return whether a setting, by dotted name, is a seed."""
    last = key.rpartition(".")[2]
    return last == "seed" or last.endswith("_seed")


def decisive_settings(run: RunRecords) -> dict[str, str]:
    """Return the settings that affect results as text, by dotted name and without seeds.

    A setting that changed during the run has the steps of each value, which distinguishes such a run from those with
    one of the values throughout. For the length of the run, only the last value counts.
    """
    header = run.headers[-1]
    length = {key: value for key, value in flatten(header.settings).items() if key in LENGTH}
    sizes = {"prompts_per_step": header.prompts_per_step, "rollouts_per_step": header.budget}
    flat: dict[str, Any] = {**shown_settings(run), **length, **sizes}
    return {key: str(value) for key, value in flat.items() if not is_incidental(key) and not is_seed(key)}


def seeds_of(run: RunRecords) -> dict[str, str]:
    """Return the seeds of the last start as text, by dotted name."""
    return {key: str(value) for key, value in flatten(run.headers[-1].settings).items() if is_seed(key)}


def _telling_keys(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a small set of settings, found greedily, that distinguishes all different mappings."""
    keys = list(dict.fromkeys(key for members in settings for key in members))
    differing = [key for key in keys if len({members.get(key) for members in settings}) > 1]

    def classes(chosen: Sequence[str]) -> int:
        return len({tuple(members.get(key) for key in chosen) for members in settings})

    chosen: list[str] = []
    while classes(chosen) < classes(differing):
        # `max` returns the first of several equal items, and the settings begin with the `vip` group.
        chosen.append(max(differing, key=lambda key: classes([*chosen, key])))
    return [key for key in differing if key in chosen]


def _natural(text: str) -> list[tuple[float, str]]:
    """Return a sort key that orders the numbers in a text by value."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(float(part), "") if k % 2 else (0.0, part) for k, part in enumerate(parts)]


def _short(key: str, keys: set[str]) -> str:
    """Return the shortest unambiguous end of a dotted name: `rollout.n` for `actor_rollout_ref.rollout.n`."""
    parts = key.split(".")
    for length in range(1, len(parts)):
        end = ".".join(parts[-length:])
        alike = [other for other in keys if other == end or other.endswith(f".{end}")]
        if len(end) > 2 and len(alike) == 1:
            return end
    return key
