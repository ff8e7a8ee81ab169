"""A flow's parameters as the objects that they make, checked before anything is started."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

Made = TypeVar("Made")


def from_parameters(kind: type[Made], parameters: Mapping[str, Any]) -> Made:
    """Return the dataclass that a flow with these parameters makes; other parameters are passed over.

    Raises:
        VerlVipError: What is wrong with them, in a sentence.
    """
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type] # a dataclass
    return kind(**{key: value for key, value in parameters.items() if key in known and value is not None})
