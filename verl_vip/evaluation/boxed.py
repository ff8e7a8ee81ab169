r"""The last boxed answer of a response.

Benchmarks such as AIME ask for an answer in `\boxed{}`. A box inside another box is a part of it, an empty box gives no
answer, and boxes in one list, as in `\boxed{7} or \boxed{2}`, are one answer with several values.
"""

import re
from dataclasses import dataclass

_TOKENS = re.compile(
    r"(?P<command>\\{1,4}(?:boxed|fbox)(?![A-Za-z])\s*)"
    # Without braces, the answer extends to the end of its formula, or else to the end of the word.
    r"(?:(?P<brace>\{)"
    r"|(?P<formula>[+\-\u2212]?\s*\d(?:[^\n$\\{}]|\\[^()\[\]\n]|\{[^{}\n$]*\}){0,200}?)(?=\$|\\[)\]])"
    r"|(?P<word>[+\-\u2212]?\d[^\s${}]{0,200}))"
    r"|\\.|[{}]",
    re.DOTALL,
)
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z,:;!%$ ])")
#: The text allowed between two boxes of one list, after formula delimiters and Markdown stars are removed.
_JOINED = re.compile(r"\s*[,;]?\s*(?:\\?(?:text|mathrm)?\{?\s*(?:and|or)\s*\}?)?\s*(?:[A-Za-z](?:_\{?\w+\}?)?\s*=)?\s*")
_DELIMITERS = re.compile(r"\$|\\[()\[\]]|\*|\\q?quad(?![A-Za-z])|\\[,:; ]")
_LONGEST_JOINT = 60


@dataclass(frozen=True)
class _Box:
    begin: int
    end: int
    content: str


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last complete `\boxed{}` that is not empty; None if there is none.

    `\fbox{33}`, `\boxed 33` and `\\boxed{33}` with doubled backslashes are read as well. The contents of different
    boxes in one list are joined with commas.
    """
    boxes = [box for box in _boxes(text) if box.content]
    if not boxes:
        return None
    last = [boxes.pop()]
    while boxes and _is_joined(text[boxes[-1].end : last[0].begin]):
        last.insert(0, boxes.pop())
    return ", ".join(dict.fromkeys(box.content for box in last))


def _boxes(text: str) -> list[_Box]:
    """Return the outermost complete boxes, in order.

    The text is read in one pass, because a degenerate response may open thousands of boxes.
    """
    open_braces: list[re.Match[str] | None] = []  # None for a brace that opens no box
    found: list[_Box] = []
    for token in _TOKENS.finditer(text):
        if token["brace"] is not None:
            open_braces.append(token)
        elif token["command"] is not None:
            content = (token["formula"] or token["word"]).strip().rstrip(",;:*")
            found.append(_Box(token.start(), token.end(), content))
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}" and open_braces:
            opened = open_braces.pop()
            if opened is None:
                continue
            while found and found[-1].begin > opened.start():
                found.pop()
            content = text[opened.end() : token.start()].strip()
            if opened["command"].count("\\") % 2 == 0:
                content = _DOUBLED.sub(r"\\", content)
            found.append(_Box(opened.start(), token.end(), content))
    return found


def _is_joined(between: str) -> bool:
    return len(between) <= _LONGEST_JOINT and _JOINED.fullmatch(_DELIMITERS.sub(" ", between)) is not None
