"""Checks a flow's parameters, before anything is started."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from verl_vip.errors import ConfigError

Made = TypeVar("Made")


def from_parameters(kind: type[Made], parameters: Mapping[str, Any]) -> Made:
    """Build a dataclass from a flow's parameters; parameters that are not its fields are ignored.

    Raises:
        VerlVipError: If a parameter is wrong, with one sentence that says why.
    """
    known = fields(kind)  # type: ignore[arg-type] # a dataclass
    given = {one.name: parameters[one.name] for one in known if parameters.get(one.name) is not None}
    required = [one.name for one in known if one.default is MISSING and one.default_factory is MISSING]
    if lacking := [name for name in required if name not in given]:
        raise ConfigError(f"{lacking[0]} is missing; give it.")
    return kind(**given)
