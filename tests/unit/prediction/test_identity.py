import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.identity import fields_of, prompt_id, prompt_text

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


def test_what_has_no_stable_content_is_refused():
    with pytest.raises(InvalidInputError, match=r"prompt\[0\].content is a object"):
        prompt_id([{"role": "user", "content": object()}])


NAN = float("nan")
#: Prompts without a word, as JSON and Parquet readers give them.
SILENT = [
    None,
    "",
    " \n",
    NAN,
    [],
    (),
    np.array([], dtype=object),
    [None],
    [{}],
    [NAN],
    [{"role": "user"}],
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": None}],
    [{"role": "user", "content": NAN}],
    [{"role": "user", "content": 3.5}],
    [{"role": "user", "content": []}],
    [{"role": "user", "content": [None, NAN, {}, {"type": "text", "text": None, "image": NAN}]}],
    [{"role": "user", "content": np.array([{"type": "text", "text": NAN}], dtype=object)}],
    [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
    [{"role": "system", "content": None}, {"role": "user", "content": " "}],
]


@pytest.mark.parametrize("prompt", SILENT, ids=repr)
def test_a_prompt_without_a_word_has_an_id_and_no_text(prompt):
    assert prompt_id(prompt) == prompt_id(prompt)
    assert prompt_text(prompt).strip() == ""


def test_prompts_without_a_word_differ_by_what_else_they_hold():
    def calls(name):
        return [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": name}}]}]

    ids = [prompt_id(prompt) for prompt in (calls("f"), calls("g"), [], None, "", NAN)]
    assert len(set(ids)) == len(ids)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["role", "content", "text"]), inner),
    max_leaves=12,
)


@given(json_like)
def test_whatever_a_data_set_holds_for_a_prompt_has_an_id_and_a_text(prompt):
    assert len(prompt_id(prompt)) == 32
    assert isinstance(prompt_text(prompt), str)


@given(st.dictionaries(st.sampled_from(["extra_info", "reward_model", "x"]), json_like))
def test_fields_are_found_by_dotted_name_or_are_none(row):
    found = fields_of(row, ["extra_info.split.name", "x"])
    assert list(found) == ["extra_info.split.name", "x"]
    assert found["x"] is row.get("x")


def test_fields_tell_tasks_of_one_wording_apart():
    rows = [{"reward_model": {"ground_truth": truth}} for truth in ("3", "4", ["3"], None)]
    ids = [prompt_id(CHAT, fields_of(row, ["reward_model.ground_truth"])) for row in rows]
    assert len(set(ids)) == 4
    assert ids[3] == prompt_id(CHAT)


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
