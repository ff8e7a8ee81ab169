"""verl-vip: predicted rollout counts for stock verl, under a hard budget."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verl_vip.allocation.allocate import allocate

__version__ = "0.1.0"

__all__ = ["__version__", "allocate"]


def __getattr__(name: str) -> Any:
    """Import `allocate` on first use, because it needs torch and the package itself does not."""
    if name == "allocate":
        from verl_vip.allocation.allocate import allocate

        return allocate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
