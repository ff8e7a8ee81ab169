"""What may stand behind a number; `test_integers` has whole answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.evaluation.units import TEXT, TEXT_END, is_unit


def upright(text: str) -> str:
    return f"{TEXT}{text}{TEXT_END}"


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", r"^\circ", "°", r"\%", "%", " cm", " apples", "元", " degrees"),
        *map(upright, ["cm", "m/s", "square units", "apples", "red apples", "litres of water", "people", "apple(s)"]),
        upright("cm") + "^2",
        upright("N") + r"\cdot" + upright("m"),
    ],
)
def test_units_and_counted_things(text):
    assert is_unit(text)


@pytest.mark.parametrize(
    "text",
    [
        *("x", " x", "!", "^2", r"\pi", " false", "²", " apple"),
        *map(upright, ["thousand", "lakh", "lakhs", "max", "false", "max points", "red", "k", "x", "or more", "apple"]),
        *map(upright, ["hours before noon", "apples and pears", "is", "rd", "²", "万", "错"]),
    ],
)
def test_what_counts_nothing_or_another_number(text):
    assert not is_unit(text)


def test_one_has_no_plural():
    assert is_unit(upright("apple"), one=True)
    assert not is_unit(upright("false"), one=True)


@given(st.text(st.characters() | st.sampled_from(TEXT + TEXT_END + "^\\ "), max_size=40), st.booleans())
def test_no_text_raises(text, one):
    assert isinstance(is_unit(text, one), bool)
