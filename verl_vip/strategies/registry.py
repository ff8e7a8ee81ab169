"""Strategies by name."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from verl_vip.errors import ConfigError
from verl_vip.strategies.strategy import Strategy
from verl_vip.strategies.uniform import Uniform
from verl_vip.strategies.vip import Vip


def _uniform(objective: str) -> Strategy:  # noqa: ARG001
    return Uniform()


#: How each strategy is built from the objective and its own settings.
STRATEGIES: Mapping[str, Callable[..., Strategy]] = {"uniform": _uniform, "vip": Vip}


def build_strategy(name: str, *, objective: str, **settings: Any) -> Strategy:
    """Build a strategy from its name.

    Args:
        name: A key of `STRATEGIES`.
        objective: "rloo" or "dr_grpo", whose variance an allocating strategy minimises.
        settings: The strategy's own keyword arguments.

    Raises:
        ConfigError: If the name or a setting is unknown.
    """
    if name not in STRATEGIES:
        nearest = difflib.get_close_matches(name, STRATEGIES, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(sorted(STRATEGIES))}."
        raise ConfigError(f"there is no strategy {name!r}; {hint}")
    try:
        return STRATEGIES[name](objective=objective, **settings)
    except TypeError as error:
        raise ConfigError(f"strategy {name!r} does not take these settings: {error}.") from error
