"""The envelope of a strategy's saved state."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from verl_vip.errors import StateError
from verl_vip.state_file import restoring

#: Version of the layout of every strategy's state. Raise it when a release cannot read older states.
VERSION = 1
#: Upper limit of counts, far above those of any run.
_MOST = 2**53


def pack(kind: str, **values: Any) -> dict[str, Any]:
    """Wrap a strategy's values: tensors, numbers, strings and containers of them."""
    return {"kind": kind, "version": VERSION, "values": values}


@contextmanager
def unpack(state: Mapping[str, Any], kind: str, *names: str) -> Iterator[dict[str, Any]]:
    """Check that a packed state belongs to this strategy, and yield its values.

    Errors inside the `with` block become a `StateError`, as in `verl_vip.prediction.state.unpack`.

    Args:
        state: What `pack` returned.
        kind: The name of the strategy that wants to continue.
        names: The values it needs.

    Yields:
        The values, by name.

    Raises:
        StateError: If the state is of another strategy or version, lacks a value, or cannot be restored.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"this is not the state of strategy {kind!r}: it is a {type(state).__name__}.")
    if state.get("kind") != kind or state.get("version") != VERSION:
        raise StateError(
            f"strategy {kind!r} (state version {VERSION}) cannot continue from the state of strategy "
            f"{state.get('kind')!r} (state version {state.get('version')}); configure that strategy or start afresh."
        )
    with restoring(f"strategy {kind!r}"):
        values = dict(state["values"])
        if missing := set(names) - values.keys():
            raise StateError(f"the state of strategy {kind!r} is incomplete: it lacks {', '.join(sorted(missing))}.")
        yield values


def restored_generator(state: Any) -> torch.Generator:
    """Return a CPU generator with a saved state; raises torch's own errors for anything else."""
    generator = torch.Generator()
    generator.set_state(state)
    return generator


def counts_by_prompt(values: Any) -> dict[str, int]:
    """Return saved whole numbers by prompt; raises `TypeError` for anything else."""
    counts = dict(values)
    if not all(isinstance(name, str) and type(count) is int and abs(count) < _MOST for name, count in counts.items()):
        raise TypeError("there is not a whole number for each prompt")
    return counts


def seeded_generator(seed: int) -> torch.Generator:
    """Return a CPU generator with this seed, a whole number of 64 bits."""
    generator = torch.Generator()
    generator.manual_seed(seed)
    return generator
