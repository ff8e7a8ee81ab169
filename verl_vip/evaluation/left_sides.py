"""Decides whether the left side of an equation names the value on the right, or the equation is still to be solved."""

import re

from verl_vip.evaluation.units import TEXT, TEXT_END, WORD

_LETTERS = (
    r"\\(?:alpha|beta|gamma|delta|(?:var)?epsilon|zeta|eta|(?:var)?theta|iota|kappa|lambda|mu|nu|xi|(?:var)?rho"
    r"|(?:var)?sigma|tau|upsilon|(?:var)?phi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|ell|Pr|det"
    r"|dim|deg)(?![A-Za-z])"
)
_SUBSCRIPT = r"(?:\s*_\s*(?:\{[^{}]*\}|\\[A-Za-z]+|\w))?"
_PRIMES = r"(?:\s*(?:'|\^\s*\{?\s*(?:\*|\\ast|\\star|\\prime)(?![A-Za-z])\s*\}?))*"
_IDENTIFIER = re.compile(rf"(?P<letter>{_LETTERS}{_SUBSCRIPT})|\\[A-Za-z]+|(?P<word>{WORD})(?P<below>{_SUBSCRIPT})")
_LONE = re.compile(rf"[\s{{(\[]*(?:{_LETTERS}|{WORD}){_SUBSCRIPT}{_PRIMES}[\s}})\]]*")
_APPLIED = re.compile(
    rf"\s*(?P<name>{_LETTERS}|{WORD}|{TEXT}[^{TEXT_END}]*{TEXT_END}){_SUBSCRIPT}{_PRIMES}\s*[(\[](?P<inside>.*)[)\]]\s*",
    re.DOTALL,
)
_CARDINALITY = re.compile(rf"\s*(?:\||\\lvert)\s*[A-Z]{_SUBSCRIPT}{_PRIMES}\s*(?:\||\\rvert)\s*")
_WRITTEN_ABOVE = re.compile(  # commands that form one name with their letters
    r"\\(?:overline|overrightarrow|vec|hat|bar|tilde|wide(?:hat|tilde)|math(?:bb|cal|frak|scr)|(?:measured)?angle"
    r"|triangle|#)(?![A-Za-z])|[$#∠△]"
)
_FUNCTIONS = re.compile("a?(?:sin|cos|tan)|log|ln|exp|sqrt|abs|floor|ceil|mod|lcm|gcd|max|min", re.IGNORECASE)
_UPRIGHT_TEXT = re.compile(rf"{TEXT}[^{TEXT_END}]*{TEXT_END}")
_SUPERSCRIPTS = re.compile("[¹²³⁰⁴-⁹]+")
_LONGEST_PRODUCT = 3  # letters; longer sequences are words


def names_a_value(left: str) -> bool:
    r"""Return whether the left side of an equation is a name for the value on the right side.

    It is if it is empty or a single name (`x`, `x_1`, `\text{Area}`, `\overline{AB}`, `|S|`, `f(2, 3)`, `P(X \ge 5)`).
    An expression in one unknown (`x^2`, `2x`, `n!`, `\sqrt{x}`, `f(x)`) is an equation for the unknown. An expression
    in several unknowns (`m + n`) or none (`5!`) cannot be solved for one: it is the quantity asked for.

    Args:
        left: Normalised, with `TEXT` and `TEXT_END` around upright text.
    """
    left = _SUPERSCRIPTS.sub("^2", _WRITTEN_ABOVE.sub(" ", left))
    applied = _APPLIED.fullmatch(left)
    if applied is not None and not _FUNCTIONS.fullmatch(applied["name"]):
        inside = _unknowns(applied["inside"])
        constant = not any(name[0].islower() or name[0] == "\\" for name in inside) and applied["name"] not in inside
        return constant or len(inside) > 1
    texts = _UPRIGHT_TEXT.findall(left)
    formula = _UPRIGHT_TEXT.sub(" ", left)
    unknowns = _unknowns(formula)
    if not unknowns:
        return len(texts) != 1 or not formula.strip(" \t{}()[]:")
    return len(unknowns) > 1 or bool(_LONE.fullmatch(formula) or _CARDINALITY.fullmatch(formula))


def _unknowns(formula: str) -> set[str]:
    found: set[str] = set()
    for match in _IDENTIFIER.finditer(formula):
        word = match["word"]
        if match["letter"] is not None:
            found.add(match["letter"])
        elif word is not None and not _FUNCTIONS.fullmatch(word):
            letters = [*word] if len(word) <= _LONGEST_PRODUCT else [word]
            found |= {*letters[:-1], letters[-1] + match["below"]}
    return found
