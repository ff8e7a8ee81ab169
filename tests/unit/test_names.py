"""What may name a folder, a file or a job, and how NAME=PATH is read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.names import LONGEST_DERIVED_NAME, LONGEST_NAME, name_from, require_name, split_named

ATTACKS = [
    *("", ".", "..", "...", ".hidden", "-rf", "_x", "a/b", "../../x", "/etc/passwd", "a/../b", "a\\b", "C:x", "~", "*"),
    *(
        "a b",
        " a",
        "a\n",
        "a\0",
        "a\tb",
        "$HOME",
        "${x}",
        "a;b",
        "a|b",
        "a=b",
        "a,b",
        "%2e%2e",
        "ä",
        "名",
        "a\u2028",
        "٣",
    ),
    *("a" * (LONGEST_NAME + 1), "\ud800", "\N{FULLWIDTH FULL STOP}" * 2),
]


def accepted(name, **how):
    try:
        require_name(name, "a thing", **how)
    except InvalidInputError:
        return False
    return True


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_no_name_gets_one_short_sentence(name):
    with pytest.raises(InvalidInputError, match="cannot name a thing; use letters, digits") as raised:
        require_name(name, "a thing")
    assert len(str(raised.value)) < 250
    str(raised.value).encode()


@given(st.text(max_size=12) | st.text("./-_a~\0", max_size=6))
def test_what_passes_is_one_part_of_a_path_and_stays_in_its_folder(name):
    if accepted(name):
        assert Path(name).parts == (name,)
        assert Path("/out", name).resolve() == Path("/out") / name
        assert name.isascii()
        assert name.isprintable()
        assert not name.startswith((".", "-"))


@pytest.mark.parametrize("name", ["a", "7", "vip-step6", "Qwen2.5-Math_1.5B", "a" * LONGEST_NAME])
def test_what_is_a_name(name):
    require_name(name, "a thing")


def test_a_derived_name_may_be_longer():
    name = "a" * LONGEST_NAME + "-evaluate-1000000"
    assert not accepted(name)
    assert accepted(name, longest=LONGEST_DERIVED_NAME)
    # The file of a picture, while it is being written, is the longest that is made of a name.
    assert len(f".pass_at_k_{'a' * LONGEST_DERIVED_NAME}.png.4194304-140735340871680.partial") < 255


@pytest.mark.parametrize("name", ["model", "Model", "MODEL"])
def test_reserved_names_are_refused_in_any_case(name):
    with pytest.raises(
        InvalidInputError, match="because results use this name for something else; choose another name"
    ):
        require_name(name, "a thing", {"model"})


@given(st.text(max_size=150))
def test_a_derived_name_is_a_name(text):
    try:
        name = name_from(text, "a thing")
    except InvalidInputError:
        assert len(text) > LONGEST_NAME or not any(letter.isascii() and letter.isalnum() for letter in text)
        return
    require_name(name, "a thing")
    assert name_from(name, "a thing") == name


@pytest.mark.parametrize("text", ["", "名前", "...", "a" * (LONGEST_NAME + 1)])
def test_what_gives_no_name(text):
    with pytest.raises(InvalidInputError, match="gives a thing no valid name; put a name in front: NAME=PATH"):
        name_from(text, "a thing")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Qwen2.5-Math", "Qwen2.5-Math"),
        ("a b (1)", "a-b-1"),
        ("prüfung", "pr-fung"),
        ("..x", "x"),
        ("split=test", "split-test"),
    ],
)
def test_derived_names(text, name):
    assert name_from(text, "a thing") == name


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Files with `=` in their paths."""
    for path in ("split=test/x.jsonl", "a=b", "lr=1e-5/model/config.json", "plain"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "name", "place"),
    [
        ("{}/split=test/x.jsonl", None, "{}/split=test/x.jsonl"),
        ("split=test/x.jsonl", None, "split=test/x.jsonl"),
        ("a=b", None, "a=b"),
        ("x={}/split=test/x.jsonl", "x", "{}/split=test/x.jsonl"),
        ("base={}/lr=1e-5/model", "base", "{}/lr=1e-5/model"),
        ("b=a=b", "b", "a=b"),
        ("c=plain", "c", "plain"),
        ("plain", None, "plain"),
        ("aime24", None, "aime24"),
        ("base=OWNER/NAME", "base", "OWNER/NAME"),
        ("x=missing.jsonl", "x", "missing.jsonl"),
        ("x=/there/only=there/x.jsonl", "x", "/there/only=there/x.jsonl"),
        ("/d/split=none/x.jsonl", None, "/d/split=none/x.jsonl"),
        ("../out={}/plain", "../out", "{}/plain"),
        ("={}/plain", "", "{}/plain"),
    ],
)
def test_name_and_place(places, word, name, place):
    assert split_named(word.format(places)) == (name, place.format(places))


@given(st.text(max_size=400))
def test_any_word_is_read_and_nothing_of_it_is_lost(word):
    name, place = split_named(word)
    assert word == (place if name is None else f"{name}={place}")
