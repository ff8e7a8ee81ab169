"""What may stand left of the equals sign; `test_integers` has whole answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.evaluation.left_sides import names_a_value
from verl_vip.evaluation.units import TEXT, TEXT_END

NAMES = st.sampled_from(
    ["x", "N", "x_1", "x_{12}", "a_n", r"\theta", r"\alpha_0", "x'", "S^*", r"\overline{AB}", "Area"]
)


@given(NAMES, st.sampled_from(["%s", " %s ", "{%s}", "(%s)", f"{TEXT}so{TEXT_END} %s", r"\angle %s"]))
def test_a_name_alone_names_a_value(name, around):
    assert names_a_value(around % name)


@given(st.sampled_from(["x", "N", "k_1", r"\theta", "Area"]), st.integers(2, 99))
def test_what_is_done_to_one_name_makes_an_equation(name, number):
    for form in (
        "{n}{x}",
        "{x}^{n}",
        "{x} + {n}",
        "{n} - {x}",
        "{x}/{n}",
        r"\sqrt{{{x}}}",
        "{x}!",
        "({x})^{n}",
        "-{x}",
    ):
        assert not names_a_value(form.format(x=name, n=number))


@given(st.lists(st.sampled_from("abcxyz"), min_size=2, max_size=4, unique=True), st.sampled_from(["+", "-", r"\cdot "]))
def test_several_names_are_a_quantity(names, operator):
    assert names_a_value(operator.join(names))


@pytest.mark.parametrize("left", ["", " ", "2^{5} + 1", "5!", r"7^{222} \bmod 1000", "f(2, 3)", r"P(X \ge 5)", "|S|"])
def test_what_has_no_unknown_is_computed(left):
    assert names_a_value(left)


@given(st.text(max_size=60))
def test_no_text_raises(text):
    assert isinstance(names_a_value(text), bool)
