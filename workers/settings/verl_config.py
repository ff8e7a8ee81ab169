"""verl's config as verl-vip reads it: each value with its type checked, and named where it is wrong."""

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

    Each reader takes a dotted key, and raises `ConfigError` with that key unless the value is what its name says.

    Args:
        config: As verl hands it over.

    Attributes:
        plain: The same as dicts, lists and plain values.

    Raises:
        ConfigError: If a group is no group, or an interpolation leads nowhere.
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
        """Return whatever is there; None where nothing is, or a value is still missing."""
        found = self.plain
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return None if found == _MISSING else found

    def flag(self, key: str, *, absent: bool | None = None) -> bool:
        """Return true or false; where the key is null or not there, `absent`, if that is given."""
        found = self.value(key)
        return bool(check(key, absent if found is None else found, bool))

    def whole(self, key: str, limits: Range = _COUNTED) -> int:
        """Return a whole number within limits, one that things can be counted with if none are given."""
        return int(check(key, self.value(key), Annotated[int, limits]))

    def whole_if_any(self, key: str, limits: Range = _COUNTED) -> int | None:
        """Return None where the key is null or not there, else as `whole`."""
        return None if self.value(key) is None else self.whole(key, limits)

    def number(self, key: str, limits: Range) -> float:
        """Return a finite number within limits."""
        return float(check(key, self.value(key), Annotated[float, limits]))

    def number_if_any(self, key: str, limits: Range) -> float | None:
        """Return None where the key is null or not there, else as `number`."""
        return None if self.value(key) is None else self.number(key, limits)

    def text(self, key: str) -> str:
        """Return text."""
        return str(check(key, self.value(key), str))

    def one_of(self, key: str, choices: Sequence[str]) -> str:
        """Return one of a few words."""
        return str(check(key, self.value(key), Literal[tuple(choices)]))

    def path(self, key: str) -> str:
        """Return the path of a file or folder, which need not be there."""
        return str(check(key, self.value(key), PathText))
