"""The identity of a prompt: a content hash, and the text that is embedded.

Equal prompts have equal ids on every machine and in every run, whatever their position or index in a data set. Ids are
128-bit BLAKE2b hashes: in a pool of a billion prompts, two different ones share an id with probability below 1e-20.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from verl_vip.errors import InvalidInputError

_MEDIA_KINDS = ("image", "video", "audio")


def prompt_id(prompt: str | Sequence[Mapping[str, Any]] | None, extra: Mapping[str, Any] | None = None) -> str:
    """Hash a prompt's content, which may be empty.

    Mapping order does not matter, and keys whose value is None are ignored, because columnar files add them.
    Everything else does matter, spaces and letter case included.

    Args:
        prompt: Text, or chat messages; a message's content may be text or a list of parts, with media given
            as bytes, arrays, tensors or PIL images.
        extra: Further content that distinguishes tasks with the same wording, such as their tools; see `fields_of`.

    Returns:
        32 hexadecimal digits.

    Raises:
        InvalidInputError: If the prompt holds an object whose content cannot be hashed.
    """
    content = {"prompt": _canonical(prompt, "prompt"), "extra": _canonical(extra or {}, "extra")}
    # ASCII output keeps lone surrogates, which UTF-8 cannot encode, representable.
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def fields_of(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return fields of a data set row by dotted name (`reward_model.ground_truth`); None for a missing field."""
    found: dict[str, Any] = {}
    for name in names:
        value: Any = row
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        found[name] = value
    return found


def label_of(row: Mapping[str, Any], name: str) -> str:
    """Return a part of a row of a data set by dotted name, as text; empty for a part it lacks."""
    value = fields_of(row, [name])[name]
    return "" if value is None else str(value)


def prompt_text(prompt: str | Sequence[Mapping[str, Any]] | None) -> str:
    """Return the text of a prompt that is embedded.

    This is the text of all messages except the system's, which the prompts of a data set often share. If there is only
    a system message, it is that one. Media appear as `<image>`, `<video>` or `<audio>`. Without text and media, as in
    messages that only call tools, the result is blank.

    Args:
        prompt: Text or chat messages, as for `prompt_id`.
    """
    if isinstance(prompt, str):
        return prompt
    messages = [message if isinstance(message, Mapping) else {"content": message} for message in _items(prompt)]
    spoken = [message for message in messages if message.get("role") != "system"]
    return "\n\n".join(filter(None, (_content_text(message.get("content")) for message in spoken or messages)))


def _content_text(content: Any) -> str:
    parts = [content] if isinstance(content, (str, Mapping)) else _items(content)
    return "\n".join(filter(None, map(_part_text, parts)))


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    if isinstance(part.get("text"), str):
        return str(part["text"])
    kind = str(part.get("type", ""))
    return next((f"<{name}>" for name in _MEDIA_KINDS if name in kind or not _is_absent(part.get(name))), "")


def _items(value: Any) -> list[Any]:
    """Return the items of a list as Parquet and JSON readers give it; no items for anything else."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # numpy arrays; numpy is not imported here
        value = value.tolist()
    return list(value) if isinstance(value, (list, tuple)) else []


def _is_absent(value: Any) -> bool:
    # pandas represents a missing value as NaN.
    return value is None or (isinstance(value, float) and math.isnan(value))


def _canonical(value: Any, where: str) -> Any:
    """Return `value` as JSON data; what JSON cannot hold becomes a digest of its bytes."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Mapping):
        return {str(key): _canonical(item, f"{where}.{key}") for key, item in value.items() if item is not None}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _digest("bytes", bytes(value))
    if isinstance(value, Sequence):
        return [_canonical(item, f"{where}[{position}]") for position, item in enumerate(value)]
    return _canonical_foreign(value, where)


def _canonical_foreign(value: Any, where: str) -> Any:
    """Handle types that JSON lacks. Arrays, tensors and images are recognised by their methods, without imports."""
    if isinstance(value, (date, time, timedelta, Decimal)):
        return {type(value).__name__: str(value)}
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # torch.Tensor
        value = value.detach().cpu().numpy()
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):  # numpy arrays and scalars
        if value.ndim == 0:
            return _canonical(value.item(), where)
        if value.dtype.hasobject:  # Parquet readers return lists of messages like this
            return _canonical(value.tolist(), where)
        return _digest(f"array {value.dtype.str} {value.shape}", value.tobytes())
    if hasattr(value, "mode") and hasattr(value, "size") and hasattr(value, "tobytes"):  # PIL.Image.Image
        return _digest(f"image {value.mode} {value.size}", value.tobytes())
    raise InvalidInputError(
        f"{where} is a {type(value).__name__}, whose content cannot be hashed; "
        "use text, numbers, dates, lists, mappings, bytes, arrays or images."
    )


def _digest(kind: str, content: bytes) -> dict[str, str]:
    return {kind: hashlib.blake2b(content, digest_size=16).hexdigest()}
