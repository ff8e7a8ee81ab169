"""The envelope of a strategy's saved state."""

from collections.abc import Mapping
from typing import Any

import torch

from verl_vip.errors import ConfigError, StateError

#: Version of the layout of every strategy's state; raised when an older state can no longer be read.
VERSION = 1


def pack(kind: str, **values: Any) -> dict[str, Any]:
    """Wrap a strategy's values: tensors, numbers, strings and containers of them."""
    return {"kind": kind, "version": VERSION, "values": values}


def unpack(state: Mapping[str, Any], kind: str, *names: str) -> dict[str, Any]:
    """Return the values of a packed state after checking that it belongs to this strategy.

    Args:
        state: What `pack` returned.
        kind: The name of the strategy that wants to continue.
        names: The values it needs.

    Raises:
        StateError: If the state is of another strategy or version, or lacks a value.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"this is not the state of strategy {kind!r}: it is a {type(state).__name__}.")
    if state.get("kind") != kind or state.get("version") != VERSION:
        raise StateError(
            f"strategy {kind!r} (state version {VERSION}) cannot continue from the state of strategy "
            f"{state.get('kind')!r} (state version {state.get('version')}); configure that strategy or start afresh."
        )
    values = dict(state["values"])
    if missing := set(names) - values.keys():
        raise StateError(f"the state of strategy {kind!r} is incomplete: it lacks {', '.join(sorted(missing))}.")
    return values


def seeded_generator(seed: int) -> torch.Generator:
    """Return a generator on the CPU with this seed.

    Raises:
        ConfigError: If the seed is not an integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed must be an integer; got {seed!r}.")
    generator = torch.Generator()
    generator.manual_seed(seed)
    return generator
