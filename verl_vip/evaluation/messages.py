"""Chat messages with text contents, the only prompts that evaluation accepts."""

from collections.abc import Mapping, Sequence
from typing import Any

from verl_vip.errors import InvalidInputError

#: The columns of media in verl's data sets.
MEDIA_COLUMNS = ("images", "videos", "audios")
_MEDIA = ("image", "video", "audio")
_MEDIA_FIELDS = {**{kind: kind for kind in _MEDIA}, **{f"{kind}_url": kind for kind in _MEDIA}, "input_audio": "audio"}


def text_messages(prompt: Any) -> tuple[dict[str, Any], ...]:
    """Return a prompt's messages with text contents, and without the nulls that columnar files add.

    The parts of a content are joined without a separator, as in chat templates.

    Args:
        prompt: Chat messages. A content is text or a list of parts.

    Raises:
        InvalidInputError: If the prompt is not a list of chat messages, or contains an image, a video or audio.
    """
    if isinstance(prompt, str) or not isinstance(prompt, Sequence) or not prompt:
        raise InvalidInputError("its prompt is not a list of chat messages.")
    return tuple(_message(message) for message in prompt)


def refuse_media(fields: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Refuse a row with media.

    Args:
        fields: The row.
        columns: The columns that may contain media.

    Raises:
        InvalidInputError: If one of the columns is not empty.
    """
    for column in columns:
        if _holds_something(fields.get(column)):
            raise _no_text(f"it has {column}")


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidInputError("its prompt is not a list of chat messages.")
    if not isinstance(message.get("role"), str):
        raise InvalidInputError("a message of its prompt has no role.")
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        if not isinstance(content, Sequence):
            raise InvalidInputError(f"a message of its prompt has the content {content!r}, which is not text.")
        content = "".join(map(_part, content))
    return {**{key: value for key, value in message.items() if value is not None}, "content": content}


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise InvalidInputError(f"a message of its prompt has the part {part!r}, which is not text.")
    kind = str(part.get("type") or "text")
    shown = [name for key, name in _MEDIA_FIELDS.items() if _holds_something(part.get(key))]
    shown += [name for name in _MEDIA if name in kind]
    if shown:
        raise _no_text(f"its prompt shows {'a' if shown[0] == 'video' else 'an'} {shown[0]}")
    if not isinstance(text := part.get("text"), str):
        raise InvalidInputError(f"a message of its prompt has a part of type {kind!r} without text.")
    return text


def _holds_something(value: Any) -> bool:
    """Return whether a field has a value. Columnar files fill absent fields with nulls, which may be nested."""
    return any(map(_holds_something, value.values())) if isinstance(value, Mapping) else bool(value)


def _no_text(what: str) -> InvalidInputError:
    return InvalidInputError(f"{what}, but evaluation takes only text; leave such rows out.")
