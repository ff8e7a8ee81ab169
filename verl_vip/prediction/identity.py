"""Which prompt is which: a content hash, and the text that is embedded.

Equal prompts get equal ids on every machine and in every run, whatever position or index they have in a data
set. Ids are 128-bit BLAKE2b hashes, so that two different prompts of a pool of a billion share one with
probability below 1e-20.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from verl_vip.errors import InvalidInputError

_MEDIA_KINDS = ("image", "video", "audio")


def prompt_id(prompt: str | Sequence[Mapping[str, Any]], extra: Mapping[str, Any] | None = None) -> str:
    """Hash a prompt's content.

    Mapping order does not matter, and keys whose value is None are ignored, because columnar files add them.
    Everything else does matter, spaces and letter case included.

    Args:
        prompt: Text, or chat messages; a message's content may be text or a list of parts, with media given
            as bytes, arrays, tensors or PIL images.
        extra: What else tells two tasks with the same wording apart (for example their tools).

    Returns:
        32 hexadecimal digits.

    Raises:
        InvalidInputError: If the prompt is empty or holds something that has no stable content.
    """
    if len(prompt) == 0:
        raise InvalidInputError("the prompt is empty; give text or at least one chat message.")
    content = {"prompt": _canonical(prompt, "prompt"), "extra": _canonical(extra or {}, "extra")}
    # ASCII output keeps lone surrogates, which UTF-8 cannot encode, representable.
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def prompt_text(prompt: str | Sequence[Mapping[str, Any]]) -> str:
    """Return the text that stands for a prompt when it is embedded.

    That is the text of all messages but the system's, which prompts of a data set tend to share; only if
    there is no other is it the system's. Media appear as `<image>`, `<video>` or `<audio>`.

    Args:
        prompt: Text or chat messages, as for `prompt_id`.

    Raises:
        InvalidInputError: If there is no text and no media to speak of.
    """
    if isinstance(prompt, str):
        text = prompt
    else:
        if not all(isinstance(message, Mapping) for message in prompt):
            raise InvalidInputError("a prompt must be text or a list of chat messages, each a mapping.")
        spoken = [message for message in prompt if message.get("role") != "system"]
        text = "\n\n".join(filter(None, (_content_text(message.get("content")) for message in spoken or prompt)))
    if not text.strip():
        raise InvalidInputError("the prompt has no text to embed; give at least one message with content.")
    return text


def _content_text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(filter(None, (_part_text(part) for part in content)))


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if part.get("text") is not None:
        return str(part["text"])
    kind = str(part.get("type", ""))
    return next((f"<{name}>" for name in _MEDIA_KINDS if name in kind or part.get(name) is not None), "")


def _canonical(value: Any, where: str) -> Any:
    """Return `value` as JSON data; what JSON cannot hold becomes a digest of its bytes."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(f"{where} is {value}, which has no stable form; leave it out.")
        return value
    if isinstance(value, Mapping):
        return {str(key): _canonical(item, f"{where}.{key}") for key, item in value.items() if item is not None}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _digest("bytes", bytes(value))
    if isinstance(value, Sequence):
        return [_canonical(item, f"{where}[{position}]") for position, item in enumerate(value)]
    return _canonical_foreign(value, where)


def _canonical_foreign(value: Any, where: str) -> Any:
    """Handle arrays, tensors and images by their methods, so that none of their packages is imported here."""
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # torch.Tensor
        value = value.detach().cpu().numpy()
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):  # numpy arrays and scalars
        if value.ndim == 0:
            return _canonical(value.item(), where)
        if value.dtype.hasobject:  # how parquet readers hand over a list of messages
            return _canonical(value.tolist(), where)
        return _digest(f"array {value.dtype.str} {value.shape}", value.tobytes())
    if hasattr(value, "mode") and hasattr(value, "size") and hasattr(value, "tobytes"):  # PIL.Image.Image
        return _digest(f"image {value.mode} {value.size}", value.tobytes())
    raise InvalidInputError(
        f"{where} is a {type(value).__name__}, whose content cannot be hashed; "
        "use text, numbers, lists, mappings, bytes, arrays or images."
    )


def _digest(kind: str, content: bytes) -> dict[str, str]:
    return {kind: hashlib.blake2b(content, digest_size=16).hexdigest()}
