import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.identity import prompt_id, prompt_text

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]


def test_ids_are_stable_across_releases():
    # Checkpoints and caches hold these: a change here orphans them.
    assert prompt_id("What is 2 + 2?") == "b6759dd19defc5c5be7649d1d95eb795"
    assert prompt_id(CHAT) == "b6b629cc90cf38c0f7b719ea2120ff92"


def test_equal_content_has_one_id():
    reordered = [{"content": "Be brief.", "role": "system"}, {"content": "What is 2 + 2?", "role": "user"}]
    from_parquet = np.array([{**message, "name": None} for message in CHAT], dtype=object)
    assert prompt_id(CHAT) == prompt_id(reordered) == prompt_id(tuple(CHAT)) == prompt_id(from_parquet)


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_different_texts_have_different_ids(texts):
    chats = [[{"role": "user", "content": text}] for text in texts]
    assert prompt_id(chats[0]) != prompt_id(chats[1])


def test_everything_else_that_differs_changes_the_id():
    image, other = np.zeros((2, 3, 3), np.uint8), np.ones((2, 3, 3), np.uint8)

    def shown(media):
        return [{"role": "user", "content": [{"type": "image", "image": media}, {"type": "text", "text": "?"}]}]

    prompts = [
        "ab",
        "a b",
        "AB",
        [{"role": "user", "content": "ab"}],
        [{"role": "system", "content": "ab"}],
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        shown(image),
        shown(other),
        shown(image.reshape(3, 2, 3)),
        shown(image.astype(np.int8)),
        shown(Image.fromarray(image)),
        shown(Image.fromarray(other)),
        shown(image.tobytes()),
        shown("image.png"),
    ]
    ids = [prompt_id(prompt) for prompt in prompts] + [prompt_id("ab", {"tools": ["search"]})]
    assert len(set(ids)) == len(ids)
    assert prompt_id(shown(torch.from_numpy(image))) == prompt_id(shown(image))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt is empty"),
        ([], "prompt is empty"),
        ([{"role": "user", "content": object()}], r"prompt\[0\].content is a object"),
        ([{"role": "user", "weight": float("nan")}], r"prompt\[0\].weight is nan"),
    ],
)
def test_what_has_no_stable_content_is_refused(prompt, message):
    with pytest.raises(InvalidInputError, match=message):
        prompt_id(prompt)


def test_the_text_leaves_the_system_prompt_out():
    assert prompt_text(CHAT) == "What is 2 + 2?"
    assert prompt_text(CHAT[:1]) == "Be brief."
    assert prompt_text("plain") == "plain"


def test_the_text_of_parts_names_media():
    content = [{"type": "image_url", "image_url": "u"}, {"type": "text", "text": "How many?", "image": None}]
    chat = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "And?"},
    ]
    assert prompt_text(chat) == "<image>\nHow many?\n\nAnd?"


def test_a_prompt_without_text_is_refused():
    with pytest.raises(InvalidInputError, match="no text to embed"):
        prompt_text([{"role": "user", "content": " "}])
    with pytest.raises(InvalidInputError, match="each a mapping"):
        prompt_text(["hello"])
