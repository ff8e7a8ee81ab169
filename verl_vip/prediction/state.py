"""The envelope of every predictor's saved state: which predictor, which version, which settings."""

from collections.abc import Mapping
from typing import Any

from verl_vip.errors import StateError

#: Version of the layout of every predictor's state; raised when an older state can no longer be read.
VERSION = 2


def pack(kind: str, settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Wrap a predictor's values.

    Args:
        kind: The predictor's name.
        settings: Its constructor's arguments; numbers, strings and None.
        values: Tensors, numbers, strings and containers of them.
    """
    return {"kind": kind, "version": VERSION, "settings": dict(settings), "values": dict(values)}


def unpack(state: Mapping[str, Any], kind: str, settings: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return the values of a packed state after checking that it belongs to this predictor.

    Args:
        state: What `pack` returned.
        kind: The name of the predictor that wants to continue.
        settings: Its settings.
        names: The values it needs.

    Raises:
        StateError: If the state is of another predictor, version or setting, or lacks a value.
    """
    missing = {"kind", "version", "settings", "values"} - state.keys()
    if missing:
        raise StateError(f"this is not a predictor's state: it lacks {', '.join(sorted(missing))}.")
    if state["kind"] != kind:
        raise StateError(
            f"this is the state of predictor {state['kind']!r}, and {kind!r} cannot continue from it; "
            f"configure {state['kind']!r} or start afresh."
        )
    if state["version"] != VERSION:
        raise StateError(
            f"the state of predictor {kind!r} has version {state['version']}, and this release reads version "
            f"{VERSION}; continue with the release that wrote it or start afresh."
        )
    saved = dict(state["settings"])
    for name in sorted(saved.keys() | settings.keys()):
        if saved.get(name) != settings.get(name):
            raise StateError(
                f"the state of predictor {kind!r} was made with {name}={saved.get(name)!r}, and it is "
                f"now {settings.get(name)!r}; restore that setting or start afresh."
            )
    values = dict(state["values"])
    absent = names - values.keys()
    if absent:
        raise StateError(f"the state of predictor {kind!r} is incomplete: it lacks {', '.join(sorted(absent))}.")
    return values
