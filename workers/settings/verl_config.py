"""Reads verl's config: the type of each value is checked, and errors name its key."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from verl_vip.annotations import PathText, Range, check
from verl_vip.errors import ConfigError

_GROUPS = ("actor_rollout_ref", "algorithm", "data", "trainer", "vip")
_MISSING = "???"
_COUNTED = Range(least=1, most=10**9)


class VerlConfig:
    """verl's whole config, resolved.

    Each method takes a dotted key, and raises `ConfigError` with that key if the value has another type.

    Args:
        config: The config that verl passes to its hooks.

    Attributes:
        plain: The config as dicts, lists and plain values.

    Raises:
        ConfigError: If a group is a list, or an interpolation cannot be resolved.
    """

    def __init__(self, config: DictConfig) -> None:
        unresolved: Any = OmegaConf.to_container(config)
        if wrong := [group for group in _GROUPS if isinstance(unresolved.get(group), list)]:
            raise ConfigError(f"{wrong[0]} is a group of settings, and must not be a list.")
        try:
            self.plain: Any = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            key = f"{error.full_key}: " if error.full_key else ""
            raise ConfigError(f"{key}{str(error).splitlines()[0]}; correct the value.") from error

    def value(self, key: str) -> Any:
        """Return any value; None if the key is absent or its value is missing (`???`)."""
        found = self.plain
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return None if found == _MISSING else found

    def flag(self, key: str, *, absent: bool | None = None) -> bool:
        """Return true or false; `absent`, if given, where the key is null or absent."""
        found = self.value(key)
        return bool(check(key, absent if found is None else found, bool))

    def whole(self, key: str, limits: Range = _COUNTED) -> int:
        """Return an integer within limits, from 1 by default."""
        return int(check(key, self.value(key), Annotated[int, limits]))

    def whole_if_any(self, key: str, limits: Range = _COUNTED) -> int | None:
        """Return as `whole` does, or None where the key is null or absent."""
        return None if self.value(key) is None else self.whole(key, limits)

    def number(self, key: str, limits: Range) -> float:
        """Return a finite number within limits."""
        return float(check(key, self.value(key), Annotated[float, limits]))

    def number_if_any(self, key: str, limits: Range) -> float | None:
        """Return as `number` does, or None where the key is null or absent."""
        return None if self.value(key) is None else self.number(key, limits)

    def text(self, key: str) -> str:
        """Return text."""
        return str(check(key, self.value(key), str))

    def one_of(self, key: str, choices: Sequence[str]) -> str:
        """Return one of the given choices."""
        return str(check(key, self.value(key), Literal[tuple(choices)]))

    def path(self, key: str) -> str:
        """Return the path of a file or folder, which need not exist."""
        return str(check(key, self.value(key), PathText))
