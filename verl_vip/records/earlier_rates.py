"""Success rates that an earlier run, an evaluation or stock verl's dumps recorded for the prompts of a pool."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verl_vip.errors import InvalidInputError
from verl_vip.records.outcome_sources import ReadSettings, read_outcomes
from verl_vip.records.outcomes import KeyKind, OutcomeSource

logger = logging.getLogger("verl_vip")

#: The length of the beginning of a text by which it is looked up in the longer text of a dump.
_BEGINNING = 24
#: Bounds of the strength, in rollouts, of the distribution of rates over prompts.
_LEAST_STRENGTH, _LARGEST_STRENGTH = 0.5, 50.0
#: Its strength where no prompt has two rollouts, from which it could be estimated.
_STRENGTH = 2.0


@dataclass(frozen=True)
class PoolPrompts:
    """The `P` prompts of a pool, which may repeat.

    Attributes:
        ids: Their ids, with the run's `vip.identity_fields`.
        wordings: The ids of their messages alone.
        texts: The text of each prompt's last message.
    """

    ids: Sequence[str]
    wordings: Sequence[str]
    texts: Sequence[str]


def earlier_rates(path: Path, pool: PoolPrompts) -> dict[str, float]:
    """Return the success rates of the prompts of a pool that were recorded before, by id.

    A rate from few rollouts is drawn towards the mean over the prompts: it is the mean of the posterior, if rates are
    Beta distributed over prompts with the mean and the variance that the record shows.

    Prompts are recognised by their identity; in dumps, whose prompts are texts in a chat template, by the text of the
    last message, which the dumped text contains.

    Args:
        path: What `read_outcomes` reads.
        pool: The pool.

    Raises:
        ConfigError: If the path is not valid.
        InvalidInputError: If nothing can be read there, or it has none of the prompts.
    """
    found = read_outcomes([path], ReadSettings(with_texts=True))
    for sentence in found.left_out:
        logger.warning("%s", sentence)
    won: dict[str, float] = {}
    tried: dict[str, int] = {}
    for source in found.sources:
        successes, trials = source.outcomes.totals()
        for row, names in _matches(source, pool):
            for name in names:
                won[name] = won.get(name, 0.0) + float(successes[row])
                tried[name] = tried.get(name, 0) + int(trials[row])
    if not won:
        kinds = " and ".join(sorted({source.kind.value for source in found.sources}))
        raise InvalidInputError(
            f"{path} ({kinds}) has outcomes of {sum(len(source.outcomes.keys) for source in found.sources)} prompts, "
            f"and none of them is among the {len(set(pool.ids))} training prompts; give a record of the same data, "
            "with the same vip.identity_fields."
        )
    return _shrunk(won, tried)


def _shrunk(won: Mapping[str, float], tried: Mapping[str, int]) -> dict[str, float]:
    total = sum(tried.values())
    mean = (sum(won.values()) + 0.5) / (total + 1)
    # k (n - k) / (n (n - 1)) is an unbiased estimate of p (1 - p), whose mean is m (1 - m) s / (s + 1) if p is Beta
    # distributed with mean m and strength s.
    within = [won[name] * (n - won[name]) / (n * (n - 1)) for name, n in tried.items() if n > 1]
    strength = _STRENGTH
    if within:
        inner, whole = sum(within) / len(within), mean * (1 - mean)
        strength = inner / (whole - inner) if inner < whole else _LARGEST_STRENGTH
        strength = min(max(strength, _LEAST_STRENGTH), _LARGEST_STRENGTH)
    return {name: (won[name] + strength * mean) / (n + strength) for name, n in tried.items()}


def _matches(source: OutcomeSource, pool: PoolPrompts) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the rows of a record with the ids of the prompts of the pool that they are about."""
    keys = source.outcomes.keys
    if source.key_kind is KeyKind.TEXT:
        look_up = _Texts(pool)
        for row, text in enumerate(source.outcomes.texts):
            yield row, look_up.contained_in(text)
        return
    names: dict[str, set[str]] = {}
    length = 16 if source.key_kind is KeyKind.SHORT_ID else None
    for name, wording in zip(pool.ids, pool.wordings, strict=True):
        names.setdefault(wording[:length], set()).add(name)
        names.setdefault(name[:length], set()).add(name)
    for row, key in enumerate(keys):
        yield row, sorted(names.get(key, ()))


class _Texts:
    """Finds the longest text of a pool that another text contains."""

    def __init__(self, pool: PoolPrompts) -> None:
        self._names: dict[str, set[str]] = {}
        for name, text in zip(pool.ids, pool.texts, strict=True):
            if text.strip():
                self._names.setdefault(text.strip(), set()).add(name)
        self._by_beginning: dict[str, list[str]] = {}
        for text in self._names:
            self._by_beginning.setdefault(text[:_BEGINNING], []).append(text)
        self._lengths = sorted({len(beginning) for beginning in self._by_beginning}, reverse=True)

    def contained_in(self, text: str) -> Sequence[str]:
        """Return the ids of the prompts whose text it is, without the words of the chat template around it."""
        best = ""
        for start in range(len(text)):
            if start and text[start - 1].isalnum():
                continue
            for length in self._lengths:
                for candidate in self._by_beginning.get(text[start : start + length], ()):
                    end = start + len(candidate)
                    whole = not text[end : end + 1].isalnum()
                    if len(candidate) > len(best) and whole and text.startswith(candidate, start):
                        best = candidate
        return sorted(self._names.get(best, ()))
