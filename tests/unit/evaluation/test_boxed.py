"""Where the last boxed answer is, and what belongs to it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.evaluation.boxed import last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{33}.", "33"),
        (r"\boxed{1} and then \boxed{2}", "2"),
        (r"\boxed{\frac{66}{2}} is it", r"\frac{66}{2}"),
        (r"\boxed {33}", "33"),
        (r"\fbox{33}", "33"),
        (r"\boxed{ 33 }", "33"),
        (r"\boxed{33", None),
        (r"\boxed{7} then \boxed{33", "7"),
        (r"\boxed{\text{a\}b}}", r"\text{a\}b}"),
        (r"} } { \boxed{5} {", "5"),
        (r"\boxedness{33}", None),
        (r"put it in \boxed. So 33", None),
        ("33", None),
        ("", None),
    ],
)
def test_last_boxed(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{\boxed{33}}", r"\boxed{33}"),
        (r"\boxed{\boxed{7} \text{ or } \boxed{33}}", r"\boxed{7} \text{ or } \boxed{33}"),
        (r"\boxed{7 \boxed{33}", "33"),
        (r"\boxed{x = \fbox{33} {", "33"),
    ],
)
def test_a_box_in_a_complete_box_belongs_to_it(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"), [(r"\boxed{}", None), (r"\boxed{ }", None), (r"\boxed{33}. I boxed it in \boxed{}.", "33")]
)
def test_an_empty_box_gives_no_answer(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed 33", "33"),
        (r"$\boxed 33$", "33"),
        (r"\(\boxed 33\)", "33"),
        (r"So \boxed -33.", "-33."),
        (r"So \boxed 33, as we know", "33"),
        (r"**\boxed 33**", "33"),
        (r"$\boxed 33 \text{ or } 34$", r"33 \text{ or } 34"),
        (r"$\boxed 3 \cdot 11$", r"3 \cdot 11"),
        (r"\boxed 3^3", "3^3"),
        ("\\boxed 33\n34$", "33"),
    ],
)
def test_a_box_without_braces(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\\boxed{33}", "33"),
        (r"\\boxed{33 \\text{ cm}}", r"33 \text{ cm}"),
        (r"a \\\boxed{33 \\ 34}", r"33 \\ 34"),  # a line break before the box, and one in it
        (r"\\\\boxed{33}", "33"),
    ],
)
def test_doubled_backslashes(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{7} and \boxed{2}", "7, 2"),
        (r"\boxed{7}, \boxed{2}", "7, 2"),
        (r"\boxed{7} \boxed{2}", "7, 2"),
        (r"$x = \boxed{7}$ or $x = \boxed{2}$", "7, 2"),
        (r"\(\boxed{7}\), \(\boxed{8}\), and \(\boxed{2}\).", "7, 8, 2"),
        (r"\boxed{7} \text{ or } \boxed{2}", "7, 2"),
        (r"**\boxed{33}**" + "\n\n" + r"\boxed{33}", "33"),
        (r"$m = \boxed{30}$ and $n = \boxed{3}$, so $m + n = \boxed{33}$", "33"),
        (r"\boxed{7}. No: \boxed{2}", "2"),
    ],
)
def test_boxes_of_one_list_are_one_answer(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{4}" + r"\boxed{" * 200_000, "4"),
        ("\\" * 400_000, None),
        ("{" * 300_000 + "}" * 300_000, None),
        (r"\boxed 3 " * 20_000, "3"),
        (r"\boxed{3} " * 20_000, "3"),
    ],
    ids=["open boxes", "backslashes", "braces", "boxes without braces", "boxes"],
)
def test_a_response_that_repeats_itself_takes_no_time(text, content):
    begin = time.process_time()
    assert last_boxed(text) == content
    assert time.process_time() - begin < 5  # tenths of a second; quadratic time would be hours


@given(st.text(alphabet="\\{}boxed0123456789.,/= frac$\n", max_size=60))
def test_no_text_raises(text):
    boxed = last_boxed(text)
    assert boxed is None or boxed


@given(st.lists(st.sampled_from([r"\boxed{", r"\\boxed{", "{", "}", "x", r"\{", r"\}"]), max_size=30))
def test_a_box_holds_balanced_braces(pieces):
    boxed = last_boxed("".join(pieces))
    if boxed is not None:
        bare = boxed.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
