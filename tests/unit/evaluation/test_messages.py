"""Messages become text, or are refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.messages import MEDIA_COLUMNS, refuse_media, text_messages

NOTHING = [None, "", [], {}, {"bytes": None, "path": None}, {"url": {"data": None}}]


def parts(*content):
    return [{"role": "user", "content": list(content)}]


def text_of(prompt):
    (message,) = text_messages(prompt)
    return message["content"]


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4), st.data())
def test_text_parts_follow_each_other_whatever_columns_were_added(texts, data):
    def part(text):
        if data.draw(st.booleans()):
            return text
        absent = data.draw(st.lists(st.sampled_from(["image", "video", "audio", "image_url", "extra"]), unique=True))
        kind = data.draw(st.sampled_from([{"type": "text"}, {}, {"type": None}, {"type": "input_text"}]))
        return {**kind, "text": text, **{name: data.draw(st.sampled_from(NOTHING)) for name in absent}}

    assert text_of(parts(*map(part, texts))) == "".join(texts)


def test_text_stays_and_nulls_go():
    (message,) = text_messages([{"role": "user", "content": " as it is\n", "name": None, "tool_calls": None}])
    assert message == {"role": "user", "content": " as it is\n"}


def test_a_message_that_calls_a_tool_keeps_its_call():
    call = {"function": {"name": "f", "arguments": {"a": None}}}
    (message,) = text_messages([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert message == {"role": "assistant", "content": None, "tool_calls": [call]}


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "image"}, "an image"),
        ({"type": "image", "image": "a.png"}, "an image"),
        ({"image": {"bytes": b"x", "path": None}}, "an image"),
        ({"type": "image_url", "image_url": {"url": "http://a/b.png"}}, "an image"),
        ({"type": "text", "text": "look", "image": "a.png"}, "an image"),
        ({"type": "video", "video": ["a.png"]}, "a video"),
        ({"type": "input_audio", "input_audio": {"data": "x"}}, "an audio"),
    ],
)
def test_what_shows_more_than_text_is_refused_by_name(part, kind):
    with pytest.raises(InvalidInputError, match=f"its prompt shows {kind}, but evaluation takes only text"):
        text_messages(parts({"type": "text", "text": "What is this?"}, part))


@pytest.mark.parametrize("column", MEDIA_COLUMNS)
def test_columns_of_media_are_refused_by_name_and_empty_ones_are_not(column):
    for nothing in NOTHING:
        refuse_media({column: nothing}, MEDIA_COLUMNS)
    for something in (["a.png"], [{"bytes": b"x"}], "a.png", {"bytes": b"x"}):
        with pytest.raises(InvalidInputError, match=f"it has {column}, but evaluation takes only text"):
            refuse_media({column: something}, MEDIA_COLUMNS)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (5, "not a list of chat messages"),
        ("text", "not a list of chat messages"),
        (["text"], "not a list of chat messages"),
        ([{"content": "x"}], "has no role"),
        ([{"role": None, "content": "x"}], "has no role"),
        ([{"role": "user", "content": 5}], "the content 5, which is not text"),
        (parts(5), "the part 5, which is not text"),
        (parts({"type": "text"}), "a part of type 'text' without text"),
        (parts({"type": "file", "file": "x"}), "a part of type 'file' without text"),
    ],
)
def test_what_is_no_prompt(prompt, message):
    with pytest.raises(InvalidInputError, match=message):
        text_messages(prompt)
