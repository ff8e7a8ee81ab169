"""Covariates: columns of the training data as numbers that a predictor can weigh."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Covariates

#: The most different texts that a column may have. Each is a category with a weight of its own.
MOST_CATEGORIES = 64
#: The most knots of a column of numbers.
_MOST_KNOTS = 128
#: Rates are kept this far from 0 and 1, or half as far as the closest one that is neither.
_LEAST_EDGE = 0.002

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


class CovariateEncoder:
    """Turns the columns of prompts into `Covariates`.

    Args:
        columns: How each column becomes numbers.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)

    @classmethod
    def fit(cls, pool: Mapping[str, Sequence[Value]]) -> "CovariateEncoder":
        """Standardise columns over the pool.

        Args:
            pool: For each column the value of each prompt of the pool.

        Raises:
            InvalidInputError: As `Column.fit`.
        """
        return cls([Column.fit(name, values) for name, values in pool.items()])

    def __call__(self, rows: Sequence[Mapping[str, Value]]) -> Covariates:
        """Return the covariates of `B` prompts.

        Args:
            rows: The value of each column by name, for each prompt.
        """
        names = tuple(name for column in self.columns for name in column.names)
        numbers = [[number for column in self.columns for number in column.numbers(row[column.name])] for row in rows]
        return Covariates(torch.tensor(numbers, dtype=torch.float64).reshape(len(rows), len(names)), names)

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the columns."""
        return [{key: list(value) if isinstance(value, tuple) else value for key, value in asdict(column).items()}
                for column in self.columns]  # fmt: skip


def _standardised(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return knots and scores for the numbers of a column, which may be equal."""
    values, counts = np.unique(numbers, return_counts=True)
    inner = values[(values > 0) & (values < 1)]
    if values[0] >= 0 and values[-1] <= 1 and len(inner):
        edge = max(_LEAST_EDGE, min(inner[0], 1 - inner[-1]) / 2)
        rates = np.clip(values, edge, 1 - edge)
        raw = np.log(rates / (1 - rates))
    else:
        from scipy.stats import norm

        raw = norm.ppf((np.cumsum(counts) - counts / 2) / counts.sum())
    weights = counts / counts.sum()
    centred = raw - weights @ raw
    deviation = float(np.sqrt(weights @ centred**2))
    scores = centred / deviation if deviation > 0 else centred
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_KNOTS)).round().astype(int))
    return values[kept], scores[kept]
