"""An answer is read when it states one integer, however it is written, and never when it states anything besides."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from verl_vip.evaluation.benchmarks import Problem
from verl_vip.evaluation.grading import IntegerGrader
from verl_vip.evaluation.integers import as_integer, integer_answer

ACCEPTED = [
    ("33", 33),
    ("033", 33),
    ("000", 0),
    (" 33 ", 33),
    ("33.", 33),
    ("33.0", 33),
    ("33.00", 33),
    ("+33", 33),
    ("-33", -33),
    ("- 33", -33),
    (r"-\,33", -33),
    ("\u221233", -33),
    ("\u201333", -33),
    (r"{-}33", -33),
    (r"-{}33", -33),
    (r"\text{-}33", -33),
    ("-(33)", -33),
    ("1,234", 1234),
    ("1{,}234", 1234),
    (r"1,\!234", 1234),
    (r"1\,234", 1234),
    ("1\u2009234", 1234),
    ("1\u202f234", 1234),
    ("1,234,567", 1234567),
    (r"12\,345\,678 \text{ m}", 12345678),
    (r"\text{33}", 33),
    (r"\mathbf{\text{33}}", 33),
    (r"\displaystyle 33", 33),
    (r"\displaystyle\frac{66}{2}", 33),
    (r"\left(33\right)", 33),
    (r"\Big(\frac{66}{2}\Big)", 33),
    (r"{\bf 33}", 33),
    (r"\color{red}{33}", 33),
    (r"\underline{33}", 33),
    (r"\boxed{33}", 33),
    (r"33^\circ", 33),
    (r"33^{\circ}", 33),
    (r"33{}^\circ", 33),
    (r"33^\circ\text{C}", 33),
    ("33°", 33),
    (r"33\%", 33),
    (r"33 \text{ percent}", 33),
    (r"\$33", 33),
    (r"-\$33", -33),
    ("$33$", 33),
    ("€33", 33),
    (r"\frac{66}{2}", 33),
    (r"\dfrac{66}{2}", 33),
    (r"\frac {66} {2}", 33),
    (r"\frac42", 2),
    (r"-\frac{66}{2}", -33),
    (r"\frac{-66}{2}", -33),
    (r"\frac{66}{-2}", -33),
    (r"-\frac{-66}{2}", 33),
    ("66/2", 33),
    ("x = 33", 33),
    ("x=33.", 33),
    ("&=33", 33),
    ("m + n = 33", 33),
    ("x_1 = 33", 33),
    ("f(2, 3) = 33", 33),
    ("|S| = 33", 33),
    (r"\theta = 33^\circ", 33),
    (r"\angle ABC = 33^\circ", 33),
    (r"\overline{AB} = 33", 33),
    ("[ABC] = 33", 33),
    ("x' = 33", 33),
    ("x^* = 33", 33),
    ("x_{\\max} = 33", 33),
    ("x_1 + x_2 = 33", 33),
    ("xy = 33", 33),
    ("x^2 + y^2 = 33", 33),
    (r"\frac{m}{n} = 33", 33),
    (r"E[X] = 33", 33),
    (r"\det(A) = 33", 33),
    (r"A = s^2 = 36", 36),
    (r"\text{Area of } ABC = 33", 33),
    (r"\text{Thus } x = 33", 33),
    (r"\binom{10}{2} = 45", 45),
    (r"\sqrt{1089} = 33", 33),
    ("5! = 120", 120),
    (r"x = 30 + 3 = 33", 33),
    ("x = 30 + 3\n = 33", 33),
    ("100m + n = 33", 33),
    (r"7^{222} \bmod 1000 = 49", 49),
    (r"P(X \ge 5) = 1", 1),
    (r"\text{Area} = 33 \text{ cm}^2", 33),
    (r"\text{Area = 33 square units}", 33),
    (r"33 \text{ distinct ordered pairs}", 33),
    (r"33 \text{ litres of water}", 33),
    (r"33 \text{ people}", 33),
    (r"33 \text{ USD}", 33),
    (r"33 \text{ meters per second}", 33),
    (r"1 \text{ apple}", 1),
    ("33 degrees", 33),
    ("33 square units", 33),
    (r"\mathbf{x = 33}", 33),
    (r"33 \text{ cm}", 33),
    (r"33\,\text{apples}", 33),
    (r"33 \text{ square units}", 33),
    (r"33 \text{ sq. units}", 33),
    (r"33 \text{ cm}^2", 33),
    (r"33 \text{ cm}^{2}", 33),
    ("33 cm²", 33),
    (r"33\ \mathrm{m/s}", 33),
    (r"\mathrm{33\,m/s^{2}}", 33),
    (r"33\,\mathrm{m\,s^{-1}}", 33),
    (r"33\ \text{N}\cdot\text{m}", 33),
    (r"\text{33 cm}^2", 33),
    ("33 cm", 33),
    ("33 units", 33),
    (r"33 \text{ apple(s)}", 33),
    (r"33\text{个}", 33),
    ("33元", 33),
    ("\uff13\uff13", 33),
    ("\uff0d\uff13\uff13", -33),
    ("x\uff1d33", 33),
    ("\u0663\u0663", 33),
    ("\u200b33", 33),
]

REFUSED = [
    "33.5",
    "33, 34",
    "33,",
    "12,34",
    "1, 234",
    "0,123",
    "1,234\\,567",
    "1 234",
    r"\frac{67}{2}",
    r"\dfrac{1}{0}",
    "1/0",
    r"3\frac{4}{2}",
    r"\frac{1}{2}33",
    r"\frac66 2",
    r"\text{A}",
    "2^{5}",
    "3 + 30",
    r"3 \cdot 11",
    "33 or 34",
    "33 or 33",
    r"33 \text{ or } 34",
    "3 3",
    r"3 \quad 4",
    r"3\quad4",
    r"3\ 4",
    r"3\,4",
    "3~4",
    "3&4",
    "3$4",
    r"3\$4",
    r"3 \\ 4",
    "3\n4",
    "(3)(4)",
    "(3)4",
    "{3}4",
    r"\mathbf{3}4",
    r"\boxed{3}\boxed{4}",
    r"\boxed{3}, \boxed{4}",
    "thirty-three",
    r"x=7 \text{ or } x=2",
    r"x=7 \text{ and } y=2",
    r"x=7 \lor x=2",
    r"a=7,\ b=2",
    r"x=7 \quad x=2",
    r"x=7\ x=2",
    r"x = 7 \\ x = 2",
    "5 = 33",
    r"33 \text{ km} = 33000 \text{ m}",
    r"33 \text{ ft } 4 \text{ in}",
    "x = y",
    "33 = x",
    "x^2 = 33",
    "x² = 33",
    "x_1^2 = 33",
    "2x = 33",
    r"2 \cdot x = 33",
    "-x = 33",
    "x + 1 = 33",
    "x/2 = 33",
    r"\frac{x}{2} = 33",
    "n! = 33",
    r"\sqrt{x} = 33",
    r"\sqrt x=33",
    r"\log_2 x = 33",
    "log x = 33",
    r"\pi r^2 = 33",
    r"|x| = 33",
    r"|x - 2| = 33",
    r"\lfloor x \rfloor = 33",
    "x(x+1) = 33",
    "f(x) = 33",
    r"\phi(n) = 33",
    r"\text{Area}^2 = 33",
    r"2 \cdot \text{Area} = 33",
    r"\text{Thus } x^2 = 33",
    r"&= 2x = 33",
    "x^2 = 3 \\cdot 11 = 33",
    "n >= 5",
    "n => 5",
    r"n \ge 5",
    r"n \geq5",
    "n \u2265 5",
    "n != 5",
    r"n \neq 5",
    r"n \not= 5",
    r"\approx 33",
    r"x \approx 33",
    r"x \equiv 33 \pmod{100}",
    r"x = 33 \pmod{100}",
    r"33 \text{ mod } 100",
    r"33 \text{ (mod 100)}",
    r"x \in \{33\}",
    r"\{33\}",
    "[33]",
    r"\pm 33",
    "--33",
    "12:30",
    r"33^\circ 30'",
    "33!",
    "|33|",
    "33'",
    "33x",
    "33 x",
    r"33\text{x}",
    r"33\pi",
    "33π",
    "33 pi",
    "33²",
    r"33\text{²}",
    "3³",
    r"\text{33}^2",
    "33_{7}",
    "3.3e1",
    r"33 \times 10^2",
    "0x21",
    r"33 \text{ thousand}",
    r"33 \text{ dozen}",
    r"33\text{k}",
    r"33\text{万}",
    r"33 \text{ halves}",
    r"33 \text{ or more}",
    r"33 \text{ or thirty-four}",
    r"\text{at least } 33",
    r"33 \text{ if } n \text{ is even}",
    r"33 \text{ below zero}",
    "33 false",
    r"33 \text{ false}",
    r"33 \text{ lakh}",
    "33 lakhs",
    r"33 \text{ crore}",
    r"33 \text{ max}",
    "33 maximum",
    r"33 \text{ max points}",
    r"33 \text{ wrong answers}",
    r"33 \text{ hours before noon}",
    r"33 \text{rd}",
    r"33\text{-fold}",
    r"33 \text{ is}",
    r"33 \text{错}",
    r"\text{not } 33",
    r"33\ldots",
    "",
    "=",
    "x =",
    ".",
    "-",
    "{}",
    "9" * 500,
]

#: What math-verify makes of these, which is wrong.
MATH_VERIFY_ACCEPTS_FOR_33 = {"5 = 33", r"\approx 33", r"33 \text{ or more}", r"33 \text{ thousand}", "--33"}


@pytest.mark.parametrize(("answer", "number"), ACCEPTED)
def test_one_integer_is_read_however_it_is_written(answer, number):
    assert as_integer(answer) == number


@pytest.mark.parametrize("answer", REFUSED)
def test_what_states_anything_besides_is_not_read(answer):
    assert as_integer(answer) is None


def verdicts(content, true):
    """Our verdict and math-verify's on a box."""
    grade = IntegerGrader().grade(f"So $\\boxed{{{content}}}$.", Problem("p", (), true, "s"))
    return grade.correct, grade.second


@pytest.mark.parametrize(
    ("content", "true"),
    [(r"x=7 \text{ or } x=2", 2), (r"a=7,\ b=2", 2), ("n >= 5", 5), (r"3 \quad 4", 34), (r"3\ 4", 34), ("33x", 33)],
)
def test_math_verify_denies_these_too(content, true):
    assert verdicts(content, true) == (False, False)


@pytest.mark.parametrize(
    "content",
    [
        r"33 \text{ square units}",
        r"33 \text{ cm}^2",
        r"33\ \mathrm{m/s}",
        r"33^\circ",
        r"\frac{66}{2}",
        "(33)",
        "33 cm",
        "x = 33",
        "3 + 30 = 33",
    ],
)
def test_math_verify_accepts_these_too(content):
    assert verdicts(content, 33) == (True, True)


@pytest.mark.parametrize("content", sorted(MATH_VERIFY_ACCEPTS_FOR_33))
def test_math_verify_reads_a_number_in_what_states_another(content):
    assert verdicts(content, 33) == (False, True)


PLAIN = {
    "digits": str,
    "zeros": lambda n: f"00{n}",
    "point": lambda n: f"{n}.00",
    "commas": lambda n: f"{n:,}",
    "braced commas": lambda n: f"{n:,}".replace(",", "{,}"),
    "commas and negative spaces": lambda n: f"{n:,}".replace(",", r",\!"),
    "thin spaces": lambda n: f"{n:,}".replace(",", r"\,"),
    "fullwidth": lambda n: "".join(chr(ord(digit) + 0xFEE0) for digit in str(n)),
    "fraction": lambda n: rf"\dfrac{{{3 * n}}}{{3}}",
    "slash": lambda n: f"{2 * n} / 2",
}
SIGNS = ("-", "\u2212", "\u2013", "- ", r"-\,", "{-}", r"-\$", r"\$-", "-€")
WRAPPERS = ("%s", " %s ", r"\text{%s}", r"\mathbf{%s}", r"\left(%s\right)", "(%s)", r"\displaystyle %s", "{%s}", "$%s$")
UNITS = ("", "", r"^\circ", r"^{\circ}", "°", r"\%", "%", " cm", r"\,\text{cm}^2", r"\ \mathrm{m/s}", r"\$", ".", r"\;")
LEFTS = ("", "", "x = ", "x_{1}=", "m + n = ", "f(2,3) = ", r"\text{Area} = ", "|S| =", r"2^{5} + 1 = ")
THINGS = ("apples", "solutions", "cups", "hours")
WORDS = (
    st.lists(st.sampled_from([*THINGS, "square", "positive", "integer", "of", "red"]), min_size=1, max_size=3)
    .filter(lambda words: any(word in THINGS for word in words))  # a number of something
    .map(lambda words: rf" \text{{ {' '.join(words)}}}")
)


@st.composite
def statements(draw, lefts=LEFTS, units=UNITS, words=WORDS):
    """Draw text that states an integer, and the integer."""
    number = draw(st.integers(0, 10**9))
    plain = PLAIN[draw(st.sampled_from(sorted(PLAIN)))](number)
    negative = draw(st.booleans())
    signed = draw(st.sampled_from(SIGNS)) + plain if negative else draw(st.sampled_from(["", "+", r"\$"])) + plain
    wrapped = draw(st.sampled_from(WRAPPERS)) % signed
    unit = draw(st.one_of(st.sampled_from(units), words))
    return draw(st.sampled_from(lefts)) + wrapped + unit, -number if negative else number


@given(statements())
def test_every_integer_is_read_back(stated):
    text, number = stated
    assert as_integer(text) == number


BARE = {"lefts": ("",), "units": ("",), "words": st.just("")}
SEPARATORS = (
    *(", ", "; ", " and ", " or ", "\n", r"\quad ", r"\qquad ", r" \\ ", ": ", "&"),
    *(r"\text{ or }", r" \text{ and }", r"\text{, or }", r"\lor ", r"\vee "),
    *(" < ", " >= ", r"\le ", r"\geq ", r"\neq ", r"\approx ", r"\equiv ", r"\to ", r"\implies ", "≤", "≠"),
)
OPERATORS = (
    " ",
    r"\ ",
    "~",
    " + ",
    " - ",
    r"\cdot ",
    r"\times ",
    r"\pm ",
    r"\bmod ",
    r" \text{ mod } ",
    r"\text{ to }",
)


@given(statements(), st.sampled_from(SEPARATORS), statements())
def test_two_statements_are_not_read(first, joint, second):
    assert as_integer(first[0] + joint + second[0]) is None


@given(statements(), st.sampled_from(OPERATORS), statements(**BARE))
def test_algebra_is_not_done(first, operator, second):
    assert as_integer(first[0] + operator + second[0]) is None


@given(statements(), statements())
def test_an_equation_of_two_values_is_not_read(first, second):
    value = first[1] if first[1] == second[1] else None
    assert as_integer(f"{first[0]} = {second[0].rpartition('=')[2]}") in (value, None)
    if value is None:
        assert as_integer(f"{first[0]} = {second[0]}") is None


QUALIFIERS = (
    *("!", "x", r"\pi", r"\sqrt{2}", r"_{7}", r"\frac{1}{2}", r"\times 10^3", r"\pmod{7}", r" \pm 1", "..."),
    *(
        r"\text{ or more}",
        r"\text{ thousand}",
        r"\text{ dozen}",
        r"\text{ if } n",
        r"\text{ at most}",
        r" \text{ half}",
    ),
    *(r"\text{ and a half}", r" \text{ mod } 7", "-", "+", "/", "=", ",", r"\text{ or}", r"\text{n}", "(1)", "[1]"),
)


UNSOLVED = (
    *("%s^2", "%s^{3}", "2%s", "3 %s", "-%s", "%s + 1", "10 - %s", "%s/2", "%s!", r"\sqrt{%s}", r"\sqrt[3]{%s}", "%s²"),
    *(r"\frac{%s}{2}", r"\log %s", r"\sin(%s)", r"2^{%s}", "2^%s", "(%s)^2", "f(%s)", r"\left\lfloor %s\right\rfloor"),
    *("2(%s + 1)", "%s^2 + 1", r"\binom{%s}{2}", "sqrt(%s)", r"\mathbf{%s}^2", r"\text{so } 2%s", r"7 \times %s"),
)
UNKNOWN = st.one_of(
    st.sampled_from("abcdhjklmnopqrstuvwxyz"), st.sampled_from(["x_1", "x_{12}", r"\theta ", r"\lambda ", "a_n"])
)


@given(st.sampled_from(UNSOLVED), UNKNOWN, statements(lefts=("",)))
def test_an_equation_for_an_unknown_states_nothing(form, unknown, right):
    assert as_integer(f"{form % unknown} = {right[0]}") is None
    assert as_integer(f"{unknown} = {right[0]}") == right[1]


@given(
    st.integers(2, 999),
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=12),
    st.sampled_from([" %s", r"\text{ %s}"]),
)
def test_a_word_that_counts_nothing_makes_no_statement(number, word, form):
    known = (
        "unit",
        "degree",
        "percent",
        "point",
        "dollar",
        "cent",
        "euro",
        "pound",
        "yuan",
        "rupee",
        "inch",
        "foot",
        "feet",
    )
    assume(not word.endswith("s") and word not in known)
    assert as_integer(f"{number}{form % word}") is None


@given(statements(), st.sampled_from(QUALIFIERS))
def test_a_qualified_number_is_not_read(stated, qualifier):
    assert as_integer(stated[0].rstrip(".") + qualifier) is None


@given(statements(**BARE), st.sampled_from(["^2", "^{10}", r"^\text{th}", "'", "e5", "E", "''", r"\%^2", "k", "M"]))
def test_a_bare_number_with_a_mark_is_not_read(stated, mark):
    assert as_integer(stated[0].strip() + mark) is None


@given(statements(), st.sampled_from([r"\ge ", "> ", r"\approx ", r"\pm ", r"n \le ", r"\text{at least }", r"x \in "]))
def test_a_number_under_a_relation_is_not_read(stated, relation):
    assert as_integer(relation + stated[0].rpartition("=")[2]) is None


@given(st.integers(-(10**6), 10**6), st.integers(-1000, 1000))
def test_a_fraction_is_read_where_it_is_an_integer(above, below):
    found = as_integer(rf"\dfrac{{{above}}}{{{below}}}")
    assert found == (above // below if below and above % below == 0 else None)


@given(st.text(alphabet="\\{}()$^_=<,.;0123456789 /-!textfracor\u2212\u2009\ue000\ue001\ue002", max_size=80))
@example(r"\frac{1}{" * 40)
@example("\ue00033\ue001")
def test_no_text_raises(text):
    assert isinstance(as_integer(text), int | None)


@pytest.mark.parametrize(
    "answer",
    [
        *(336, 336.0, "336", r"336^\circ", "336.0", r"$336$", Decimal("336.00"), r"\boxed{336}", Fraction(672, 2)),
        *(np.int64(336), np.uint16(336), np.float32(336), np.float64(336), np.float16(336)),
    ],
)
def test_an_integer_answer_of_a_benchmark(answer):
    assert integer_answer(answer) == 336


@pytest.mark.parametrize(
    "answer",
    [
        *(None, True, "", "abc", 3.5, "3.5", math.nan, math.inf, Decimal("NaN"), Decimal("0.5"), [336], "1 or 2"),
        *(np.float32(3.5), np.float32("nan"), np.float64("inf"), np.bool_(True), np.array([336])),
    ],
)
def test_other_answers_of_a_benchmark(answer):
    assert integer_answer(answer) is None
