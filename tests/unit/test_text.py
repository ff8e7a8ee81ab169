import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.text import counted, few, file_stem, readable

#: Any code points, lone surrogates and control characters among them.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_readable_text_can_be_written_and_hides_nothing(text):
    shown = readable(text)
    shown.encode("utf-8")
    assert not {unicodedata.category(character) for character in set(shown) - set("\t\n\r\u200c\u200d")} & {
        "Cc",
        "Cs",
        "Cf",
        "Zl",
        "Zp",
    }
    assert readable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, naïve, 你好, 😀, می‌خواهم", "plain, naïve, 你好, 😀, می‌خواهم"),
        ("a\x00b\x7f", "a\\x00b\\x7f"),
        ("\ud800", "\\ud800"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("line\u2028line\x85", "line\\u2028line\\x85"),
        ("\ufeffa\uffff\U000e0041", "\\ufeffa\\uffff\\U000e0041"),
    ],
)
def test_what_cannot_be_shown_becomes_a_code(text, shown):
    assert readable(text) == shown


@given(st.lists(ANY_TEXT, unique=True, max_size=5))
def test_different_texts_have_different_file_names_that_stay_in_their_folder(texts):
    stems = [file_stem(text) for text in texts]
    assert len(set(stems)) == len(stems)
    for stem in stems:
        assert 0 < len(stem.encode()) <= 100
        assert stem == stem.strip(".")
        assert "/" not in stem


def test_plain_names_stay_as_they_are():
    assert file_stem("pass_at_k_aime-2025.v1") == "pass_at_k_aime-2025.v1"


def test_numbers_have_their_noun_and_long_lists_their_length():
    assert [counted(number, "prompt") for number in (0, 1, 1200)] == ["0 prompts", "1 prompt", "1,200 prompts"]
    assert few([]) == ""
    assert few(["A."] * 3) == "A. A. A."
    assert few(["A."] * 1300, 2) == "A. A. And 1,298 more."
