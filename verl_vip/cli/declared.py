"""Arguments whose type, default and help are declared once, by the annotations of a dataclass."""

import argparse
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from verl_vip.annotations import description


def add_declared(
    parser: "argparse._ActionsContainer", kind: type, name: str, *flags: str, note: str = "", **settings: Any
) -> None:
    """Add the argument that sets a field of a dataclass.

    Args:
        parser: A parser, or a group of its arguments.
        kind: The dataclass.
        name: The field, under which the parsed options have the value.
        *flags: The words of an option; none for an argument without one.
        note: What the help says besides the field's description.
        **settings: Settings for `add_argument`, where the command line differs from the field.

    Raises:
        KeyError: If the dataclass has no such field.
    """
    declared = get_type_hints(kind, include_extras=True)[name]
    settings = {**_settings(declared, next(entry for entry in fields(kind) if entry.name == name).default), **settings}
    default = settings.get("default")
    shown = bool(flags) and default is not None and default is not False and default not in ("", [], ())
    words = [description(declared), *([note] if note else []), *(["(default: %(default)s)"] if shown else [])]
    if flags:
        settings["dest"] = name
    parser.add_argument(*(flags or [name]), **settings, help=" ".join(words))


def declared_values(kind: type, options: argparse.Namespace) -> dict[str, Any]:
    """Return the parsed values of a dataclass's fields; fields without an argument are left out."""
    return {entry.name: getattr(options, entry.name) for entry in fields(kind) if entry.name in options}


def _settings(declared: Any, default: Any) -> dict[str, Any]:
    """Return what `add_argument` takes for one value of a declaration; a sequence's argument says how it is written."""
    kind = _plain(declared)
    if kind is bool:
        return {"action": "store_false" if default else "store_true"}
    known: dict[str, Any] = {} if default is MISSING else {"default": default}
    if get_origin(kind) is Literal:
        return {**known, "choices": get_args(kind)}
    return {**known, "type": kind} if kind in (int, float) else known


def _plain(declared: Any) -> Any:
    """Return a declaration without its limits and its null."""
    if get_origin(declared) is Annotated:
        return _plain(get_args(declared)[0])
    values = [part for part in get_args(declared) if part is not type(None)]
    return _plain(values[0]) if len(values) < len(get_args(declared)) else declared
