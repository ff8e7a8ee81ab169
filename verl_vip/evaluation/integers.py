r"""Reads the integer that an answer states, if it states one and nothing else.

An answer must have the form `[NAME =] VALUE [UNIT]`, with the value in digits or as a fraction of integers. Examples
are `033`, `33.0`, `\text{33}`, `33^\circ`, `x = 33`, `\frac{66}{2}`, `1{,}234` and `33 \text{ cm}^2`. An answer with a
second value, a relation, a condition or a scale is not read: `x = 7 \text{ or } x = 2`, `n \ge 5`, `3 \quad 4`,
`33 \text{ thousand}`. Nor is an equation that is still to be solved, such as `x^2 = 33` or `2x = 33`, or an expression
that needs algebra, such as a sum or a power. A second opinion may read those.
"""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Any

from verl_vip.evaluation.left_sides import names_a_value
from verl_vip.evaluation.units import TEXT, TEXT_END, is_unit

#: Longer answers do not state an integer that a benchmark would ask for.
_LONGEST = 400
_THIN, _WIDE = "\u2009", "\u2003"  # spaces: the first groups digits, the second separates statements
_RATIO = "\ue002"  # before a fraction, written a/b

_CHARACTERS = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
    **dict.fromkeys("\u2009\u202f\u2006", _THIN),
    **dict.fromkeys("\u2001\u2003\n\r&", _WIDE),
    **dict.fromkeys("\u00ba\u02da", "\u00b0"),
    "\u3002": ".",
}


def _commands(names: str) -> str:
    r"""Return a pattern for LaTeX commands, which a digit may follow, unlike with `\b`."""
    return rf"\\(?:{names})(?![A-Za-z])"


_FIXED = re.compile(
    "|".join(
        (
            rf"(?P<line>\\\\|{_commands('newline|lor|land|vee|wedge|cup')})",
            r"(?P<comma>(?:\\!\s*)?(?:\{\s*,\s*\}|,)(?:\s*\\!)?)",
            rf"(?P<thin>\\,|{_commands('thinspace')})",
            rf"(?P<wide>{_commands('q?quad|enspace|enskip|hfill')}|{_commands('hspace')}\*?\s*\{{[^{{}}]*\}})",
            rf"(?P<gone>{_commands('m?left|m?right|[Bb]igg?[lr]?')}(?:\s*\.)?)",
            r"(?P<space>\\[!:;> ()\[\]]|~"
            rf"|{_commands('(?:display|text|script)style|normalsize|large|Large|LARGE|huge|Huge|bf|rm|it')}"
            rf"|{_commands('textdollar|pounds|euro|yen')}"
            rf"|{_commands('(?:text)?color')}\s*\{{[^{{}}]*\}})",
        )
    )
)
_REPLACED = {"line": ";", "comma": ",", "thin": _THIN, "wide": _WIDE, "gone": "", "space": " "}
_EMPTY = re.compile(r"(?<=\d)\{\s*\}")
_EXPONENT = re.compile(r"\^\s*\{\s*([+-]?\d+)\s*\}")
_OR = re.compile(rf"{TEXT}\s*,?\s*(?:and|or)\s*{TEXT_END}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")

_NUMBER = rf"(?:[1-9]\d{{0,2}}(?:,\d{{3}}(?:,\d{{3}})*|{_THIN}\d{{3}}(?:{_THIN}\d{{3}})*)|\d+)(?:\.\d*)?(?!\d)"
_SIGNED = rf"[+-]?\s*{_NUMBER}"
_FRACTION = re.compile(
    rf"\\[cdt]?frac(?![A-Za-z])\s*(?:\{{\s*({_SIGNED})\s*\}}|(\d))\s*(?:\{{\s*({_SIGNED})\s*\}}|(\d))"
)
_VALUE = re.compile(
    rf"(?P<sign>[+-]?)\s*(?:{_RATIO}(?P<above>{_SIGNED})/(?P<below>{_SIGNED})"
    rf"|(?P<number>{_NUMBER})(?:\s*/\s*(?P<divisor>{_NUMBER}))?)"
)
_SIGN_OR_VALUE = re.compile(rf"[+-]?|{_VALUE.pattern}")
_GROUP = re.compile(
    r"(?:\\(?P<font>text(?:rm|bf|it|sf|tt|normal|up)?|mbox|hbox|operatorname|unit|math(?:rm|sf|bf|it|tt|normal)|bm"
    r"|boldsymbol|emph|underline|boxed|fbox|ensuremath|mathop)\s*\{(?P<inside>[^{}]*)\}"
    r"|(?<![\w}\])^_!.'])(?:\{(?P<braced>[^(){}]*)\}|\((?P<bracketed>[^(){}]*)\)))"
)
_UPRIGHT = re.compile(r"text\w*|mbox|hbox|operatorname|unit|mathrm|mathsf|emph|underline")

_RELATION = re.compile(
    r"\\(?:leq?|leqslant|geq?|geqslant|lt|gt|neq?|not|approx|sim|simeq|cong|equiv|in|ni|notin|subset|subseteq|to"
    r"|(?:long)?(?:left)?rightarrow|(?:Long)?(?:Left)?[Rr]ightarrow|implies|iff|propto|pm|mp)(?![A-Za-z])"
    r"|[<>≤≥≠≈≡∼∈∉→⇒⇔±∓]|(?<=\s)!="
)
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPENING, _CLOSING = frozenset("([{" + TEXT) | {r"\{"}, frozenset(")]}" + TEXT_END) | {r"\}"}
_SEPARATORS = ",;:" + _WIDE
#: A value and the next name, such as `7 x` in `y = 7 x = 2`; `100 m + n` is a single name.
_TWO_STATEMENTS = re.compile(rf"\s*{_VALUE.pattern}(?:\s+[A-Za-z]|\s*{TEXT})[^+-]*")


def integer_answer(answer: Any) -> int | None:
    """Return a benchmark's true answer as an integer; None if it is not one.

    Args:
        answer: An integer, a float or decimal without a fractional part, including NumPy's types, or a text that
            `as_integer` reads.
    """
    if isinstance(answer, str):
        return as_integer(answer)
    is_number = isinstance(answer, (Real, Decimal)) and not isinstance(answer, bool)
    if not is_number:
        return None
    try:
        value = int(answer)
    except (ValueError, OverflowError):  # NaN and the infinities
        return None
    return value if value == answer else None


def as_integer(answer: str) -> int | None:
    """Return the integer that an answer states; None if it states something else, or more than that."""
    if len(answer) > _LONGEST:
        return None
    sides = _sides(_normal(answer))
    if sides is None:
        return None
    *left, right = sides
    value = _quantity(right)
    if value is None or value.denominator != 1 or not all(_names(part, value) for part in left):
        return None
    if len(left) > 1 and any(len(_pieces(part)) > 1 for part in left):
        return None
    # The first side names the value. The following ones compute it, as in `A = s^2 = 36`.
    if not names_a_value(next(filter(str.strip, left), "")):
        return None
    return int(value)


def _normal(answer: str) -> str:
    """Return the answer with a uniform spelling of digits, minus signs, spaces, fractions, text and its end."""
    plain = "".join(map(_character, answer))
    plain = _FIXED.sub(lambda match: _REPLACED[match.lastgroup or ""], plain)
    plain = _EXPONENT.sub(r"^\1", plain)
    plain = _FRACTION.sub(lambda match: f" {_RATIO}{'/'.join(filter(None, match.groups()))} ", plain)
    plain = _EMPTY.sub(" ", plain)
    while (simpler := _GROUP.sub(_without_group, plain)) != plain:
        plain = simpler
    return _OR.sub(";", plain)


def _character(character: str) -> str:
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    category = unicodedata.category(character)
    if category in ("Cf", "Co"):
        return ""
    if category == "Sc" or character.isspace():
        return " "
    if unicodedata.decomposition(character).startswith(("<wide>", "<small>")):
        return unicodedata.normalize("NFKC", character)
    return character


def _without_group(match: "re.Match[str]") -> str:
    r"""Extract the number of `\text{33 cm}`, mark the text of `\text{cm}`, and return other commands unchanged."""
    if match["font"] is None:
        inside = match["braced"] if match["braced"] is not None else match["bracketed"]
        return f" {inside} " if _SIGN_OR_VALUE.fullmatch(inside.strip()) else match[0]
    inside = match["inside"]
    if _SIGN_OR_VALUE.fullmatch(inside.strip()):
        return f" {inside} "
    number = _VALUE.match(inside.lstrip())
    if number is not None:
        rest = inside.lstrip()[number.end() :]
        marked = rest.strip() and TEXT not in rest and _UPRIGHT.fullmatch(match["font"])
        return f" {number[0]} {TEXT}{rest}{TEXT_END} " if marked else f" {number[0]}{rest} "
    if "=" in inside or TEXT in inside or not _UPRIGHT.fullmatch(match["font"]):
        return f" {inside} "
    return f"{TEXT}{inside}{TEXT_END}"


def _sides(text: str) -> list[str] | None:
    """Split an equation at its equality signs; None if it has any other relation."""
    if any(_RELATION.match(text, place) for place, _ in _top_tokens(text)):
        return None
    return _top_level(text, "=")


def _top_level(text: str, separators: str) -> list[str]:
    """Split at separators outside of brackets, braces and text."""
    places = [place for place, token in _top_tokens(text) if token in separators]
    return [text[begin + 1 : end] for begin, end in zip([-1, *places], [*places, len(text)], strict=True)]


def _top_tokens(text: str) -> Iterator[tuple[int, str]]:
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth = max(depth - 1, 0)
        elif depth == 0:
            yield match.start(), token


def _pieces(text: str) -> list[str]:
    return _top_level(text.strip(), _SEPARATORS)


def _names(part: str, value: Fraction) -> bool:
    """Return whether the left side of an equation states no value of its own, or the given one."""
    pieces = _pieces(part)
    stated = [quantity for piece in pieces if (quantity := _quantity(piece)) is not None]
    return not _TWO_STATEMENTS.fullmatch(part) and (not stated or (len(pieces) == 1 and stated == [value]))


def _quantity(text: str) -> Fraction | None:
    """Return the value of a number, with or without a unit; None for anything else."""
    text = text.strip()
    match = _VALUE.match(text)
    if match is None:
        return None
    above, below = match["above"] or match["number"], match["below"] or match["divisor"] or "1"
    dividend, divisor = (Fraction(re.sub(r"[^\d.+-]", "", number).rstrip(".")) for number in (above, below))
    if divisor == 0:
        return None
    value = dividend / divisor * (-1 if match["sign"] == "-" else 1)
    return value if is_unit(text[match.end() :], one=abs(value) == 1) else None
