"""Predictors by name."""

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from verl_vip.errors import ConfigError
from verl_vip.prediction.predictor import Predictor

#: Where each predictor is defined; its module is imported when it is asked for.
PREDICTORS: Mapping[str, tuple[str, str]] = {
    "beta_table": ("verl_vip.prediction.beta_table", "BetaTable"),
    "drifting_gp": ("verl_vip.prediction.drifting_gp", "DriftingGaussianProcess"),
    "gaussian_process": ("verl_vip.prediction.gaussian_process", "GaussianProcess"),
    "last_seen": ("verl_vip.prediction.last_seen", "LastSeen"),
    "moving_average": ("verl_vip.prediction.moving_average", "MovingAverage"),
    "oracle": ("verl_vip.prediction.oracle", "Oracle"),
    "ridge": ("verl_vip.prediction.ridge", "Ridge"),
}


def build_predictor(name: str, **settings: Any) -> Predictor:
    """Build a predictor from its name.

    Args:
        name: A key of `PREDICTORS`.
        settings: The predictor's own keyword arguments.

    Raises:
        ConfigError: If the name or a setting is unknown (the nearest valid one is given), or a setting is of
            the wrong type or out of range.
    """
    if name not in PREDICTORS:
        raise ConfigError(f"there is no predictor {name!r}; {_nearest(name, PREDICTORS)}")
    module, attribute = PREDICTORS[name]
    constructor = getattr(importlib.import_module(module), attribute)
    known = inspect.signature(constructor).parameters
    for setting in settings:
        if setting not in known:
            raise ConfigError(f"predictor {name!r} has no setting {setting!r}; {_nearest(setting, known)}")
    try:
        predictor: Predictor = constructor(**settings)
    except TypeError as error:
        raise ConfigError(f"predictor {name!r} does not take these settings: {error}.") from error
    return predictor


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}."
