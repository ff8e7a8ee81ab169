"""Covariates: columns of the training data as numbers that a predictor can weigh."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Covariates
from verl_vip.prediction.identity import fields_of
from verl_vip.state_file import restoring

#: The most different texts that a column may have. Each is a category with a weight of its own.
MOST_CATEGORIES = 64
#: The name of the column of success rates that were recorded earlier, which is the setting that names the record.
EARLIER = "vip.warm_start"
#: The most knots of a column of numbers.
_MOST_KNOTS = 128
#: Added to rates and their complements before logarithms are taken, or half the distance of the closest rate from 0 or
#: 1 if that is more. A rate of exactly 0 or 1 often has another reason than difficulty, such as an answer that a scorer
#: cannot read, and should not outweigh the others.
_LEAST_EDGE = 0.02
#: The number of prompts of the pool whose values are kept.
_SAMPLED = 256

#: A value of a column: a number, a text, or None if it is missing.
Value = float | str | None


@dataclass(frozen=True)
class Column:
    """How one column becomes numbers; the same for all prompts of a run.

    Attributes:
        name: Its name.
        knots: For numbers: ascending values at which the standardised value is known. In between it is interpolated,
            and beyond them it is constant.
        scores: The standardised values at the knots.
        has_gaps: For numbers: whether some prompts of the pool have none. A gap is as the average, with a weight of
            its own.
        categories: For texts: all values. Each has a weight of its own; another text is as the average.
    """

    name: str
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    has_gaps: bool = False
    categories: tuple[str, ...] = ()

    @classmethod
    def fit(cls, name: str, values: Sequence[Value]) -> "Column":
        """Standardise a column over the pool.

        Values that all lie in [0, 1], not only at its ends, are taken to be rates, and their logits are standardised.
        Other numbers are replaced by the normal quantiles of their ranks, so that neither their scale nor an outlier
        matters.

        Args:
            name: Its name.
            values: The value of each prompt of the pool.

        Raises:
            InvalidInputError: If the column tells nothing, has numbers and texts, or has too many different texts.
        """
        texts = {value for value in values if isinstance(value, str)}
        numbers = np.array([value for value in values if isinstance(value, float)], dtype=np.float64)
        has_gaps = any(value is None for value in values)
        if len(texts) + len(np.unique(numbers)) + has_gaps <= 1:
            only = "no value" if has_gaps else f"the value {next(iter(values), None)!r}"
            raise InvalidInputError(f"every training prompt has {only} in {name}, which tells nothing; leave it out.")
        if texts and len(numbers):
            raise InvalidInputError(
                f"{name} has numbers and texts, such as {float(numbers[0])!r} and {min(texts)!r}; make all of them "
                "numbers, or all of them texts."
            )
        if len(texts) > MOST_CATEGORIES:
            raise InvalidInputError(
                f"{name} has {len(texts)} different texts, such as {min(texts)!r}, and a text column may have at most "
                f"{MOST_CATEGORIES}; name a column with numbers or with fewer groups."
            )
        if texts:
            return cls(name, categories=tuple(sorted(texts | ({""} if has_gaps else set()))))
        knots, scores = _standardised(numbers)
        return cls(name, tuple(knots.tolist()), tuple(scores.tolist()), has_gaps)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each number; numbers with the same name belong together."""
        if self.categories:
            return (self.name,) * len(self.categories)
        return (self.name, f"{self.name} (missing)") if self.has_gaps else (self.name,)

    def numbers(self, value: Value) -> list[float]:
        """Return the numbers that stand for a value."""
        if self.categories:
            text = "" if value is None else value
            return [float(text == category) for category in self.categories]
        if not isinstance(value, float):
            return [0.0, 1.0] if self.has_gaps else [0.0]
        score = float(np.interp(value, self.knots, self.scores))
        return [score, 0.0] if self.has_gaps else [score]


def values_of(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Value]:
    """Return the values of columns in a row of a data set, by dotted name; None for a missing one.

    Raises:
        InvalidInputError: If one is infinite, or neither a number nor text.
    """
    return {name: as_value(name, value) for name, value in fields_of(row, names).items()}


def as_value(name: str, value: Any) -> Value:
    """Return a value of a column as a number or text; None and NaN, which pandas writes for a gap, are missing.

    Raises:
        InvalidInputError: If it is infinite, or neither a number nor text.
    """
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()  # numpy's numbers
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        number = float(value)
        if math.isinf(number):
            raise InvalidInputError(f"{name} is infinite; give a finite number, or nothing.")
        return None if math.isnan(number) else number
    raise InvalidInputError(
        f"{name} is a {type(value).__name__}, and a covariate must be a number or text; name another column, or a part "
        "of this one."
    )


class PoolCovariates:
    """How the columns of a pool become `Covariates`, the same for all prompts and starts of a run.

    Args:
        columns: How each column becomes numbers.
        sample: The values of some prompts by id, by which `changed` notices that a column is not what it was.
        earlier: Success rates that were recorded earlier, by prompt id. They are the values of a further column, the
            last one, which prompts without a rate lack.

    Raises:
        InvalidInputError: If a sampled prompt does not have one value for each column.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        sample: Mapping[str, Sequence[Value]],
        earlier: Mapping[str, float] | None = None,
    ) -> None:
        self.columns, self.earlier = tuple(columns), earlier
        self._sample = {name: tuple(values) for name, values in sample.items()}
        if any(len(values) != len(self.columns) for values in self._sample.values()):
            raise InvalidInputError(f"each prompt of the sample must have {len(self.columns)} values.")

    @classmethod
    def fit(
        cls, pool: Mapping[str, Sequence[Value]], ids: Sequence[str], earlier: Mapping[str, float] | None = None
    ) -> "PoolCovariates":
        """Standardise columns over a pool.

        Args:
            pool: For each column the values of the `P` prompts of the pool.
            ids: The `P` ids of these prompts, which may repeat.
            earlier: Success rates that were recorded earlier, by prompt id.

        Raises:
            InvalidInputError: As `Column.fit`.
        """
        if earlier is not None:
            pool = {**pool, EARLIER: [earlier.get(name) for name in ids]}
        columns = [Column.fit(name, values) for name, values in pool.items()]
        values: dict[str, set[tuple[Value, ...]]] = {}
        for name, row in zip(ids, zip(*pool.values(), strict=True), strict=True):
            values.setdefault(name, set()).add(row)
        # Ids are hashes, so the first ones are a random sample.
        known = sorted(name for name, rows in values.items() if len(rows) == 1)
        return cls(columns, {name: next(iter(values[name])) for name in known[:_SAMPLED]}, earlier)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def __call__(self, ids: Sequence[str], rows: Sequence[Mapping[str, Value]]) -> Covariates:
        """Return the covariates of `B` prompts.

        Args:
            ids: The ids of the prompts.
            rows: The value of each column by name, for each prompt.
        """
        if self.earlier is not None:
            rows = [{**row, EARLIER: self.earlier.get(name)} for name, row in zip(ids, rows, strict=True)]
        names = tuple(name for column in self.columns for name in column.names)
        numbers = [[number for column in self.columns for number in column.numbers(row[column.name])] for row in rows]
        return Covariates(torch.tensor(numbers, dtype=torch.float64).reshape(len(rows), len(names)), names)

    def changed(self, now: "PoolCovariates") -> dict[str, tuple[int, int]]:
        """Return how many of the sampled prompts have another value in a pool with the same columns, by column.

        Returns:
            For each column with changes, their number and the number of prompts compared.
        """
        both = self._sample.keys() & now._sample.keys()
        found = {}
        for place, column in enumerate(self.columns):
            differing = sum(self._sample[name][place] != now._sample[name][place] for name in both)
            if differing:
                found[column.name] = (differing, len(both))
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the columns and the sample; loadable with `torch.load(weights_only=True)`."""
        columns = [
            {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(column).items()}
            for column in self.columns
        ]
        sample = {name: list(values) for name, values in self._sample.items()}
        return {"columns": columns, "sample": sample, "earlier": None if self.earlier is None else dict(self.earlier)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "PoolCovariates":
        """Build from a `state_dict`.

        Raises:
            StateError: If its parts do not fit together.
        """
        with restoring("the covariates"):
            earlier = state["earlier"]
            if earlier is not None and not all(0 < rate < 1 for rate in earlier.values()):
                raise ValueError("an earlier rate is not between 0 and 1")
            return cls([_restored(column) for column in state["columns"]], state["sample"], earlier)


def _restored(state: Mapping[str, Any]) -> Column:
    knots, scores = ([float(value) for value in state[name]] for name in ("knots", "scores"))
    ascending = all(one < other for one, other in pairwise(knots))
    if not (ascending and len(knots) == len(scores) and all(map(math.isfinite, knots + scores))):
        raise ValueError("the knots of a column are not ascending numbers with a score each")
    return Column(
        str(state["name"]), tuple(knots), tuple(scores), bool(state["has_gaps"]), tuple(map(str, state["categories"]))
    )


def _standardised(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return knots and scores for the numbers of a column, which may be equal."""
    values, counts = np.unique(numbers, return_counts=True)
    raw = _logits(values)
    if raw is None:
        from scipy.stats import norm

        raw = norm.ppf((np.cumsum(counts) - counts / 2) / counts.sum())
    weights = counts / counts.sum()
    centred = raw - weights @ raw
    deviation = float(np.sqrt(weights @ centred**2))
    # A column may have no value but one and gaps.
    scores = centred / deviation if deviation > 0 else centred
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_KNOTS)).round().astype(int))
    return values[kept], scores[kept]


def _logits(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the logits of ascending rates, drawn towards 1/2; None if these are no rates."""
    inner = values[(values > 0) & (values < 1)]
    if values[0] < 0 or values[-1] > 1 or not len(inner):
        return None
    edge = max(_LEAST_EDGE, min(inner[0], 1 - inner[-1]) / 2)
    raw: NDArray[np.float64] = np.log((values + edge) / (1 - values + edge))
    return raw if (np.diff(raw) > 0).all() else None
