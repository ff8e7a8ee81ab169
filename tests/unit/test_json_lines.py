"""JSON lines as others write them."""

import codecs
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.json_lines import read_json_lines, valid_text

#: All that `str.splitlines` takes for the end of a line, and JSON does not.
LINE_ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
TEXT = st.text(max_size=8) | st.text(LINE_ENDS + "a\r\n\ufeff", max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.dictionaries(TEXT, TEXT | st.none() | st.integers(), max_size=3), max_size=4),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\n"]),
    st.booleans(),
)
def test_what_was_written_comes_back(tmp_path, objects, mark, end, ended):
    path = tmp_path / "lines.jsonl"
    text = end.join(json.dumps(one, ensure_ascii=False) for one in objects) + (end if ended else "")
    path.write_bytes((codecs.BOM_UTF8 if mark else b"") + text.encode())
    assert [one for _, one in read_json_lines(path)] == objects


def test_lines_are_numbered_as_an_editor_numbers_them(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{}\n\n{"a": "\xe2\x80\xa8"}\n')
    assert list(read_json_lines(path)) == [(1, {}), (3, {"a": "\u2028"})]


@pytest.mark.parametrize("torn", [b"{", b'{"a": 2', b'{"a": 2}', b"\xe2\x80"])
def test_a_torn_last_line_is_left_out_of_a_file_that_grows(tmp_path, torn):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n' + torn)
    assert list(read_json_lines(path, appended=True)) == [(1, {"a": 1})]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b"[1]",
        b"1",
    ],
)
def test_what_is_no_object_is_named_with_its_line(tmp_path, line):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"{}\n" + line + b"\n")
    with pytest.raises(InvalidInputError, match=r"lines\.jsonl .*line 2"):
        list(read_json_lines(path))


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("33", "33"),
        ("数 😀 \u2028", "数 😀 \u2028"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),
    ],
)
def test_halves_of_characters_are_replaced(text, valid):
    assert valid_text(text) == valid


@given(st.text(st.characters(), max_size=20))
def test_all_that_is_valid_stays(text):
    found = valid_text(text)
    found.encode()
    assert len(found) <= len(text)
    if text.isascii():
        assert found is text


def test_what_is_no_text_is_refused():
    with pytest.raises(TypeError):
        valid_text(5)
