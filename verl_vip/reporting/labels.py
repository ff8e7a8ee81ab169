r"""Text from elsewhere as labels in pictures.

To matplotlib, `$` signs are mathematics (`verl_vip.reporting.style` turns that off), and a first underscore keeps an
entry out of a legend. Long labels leave no room for the picture, and what no font here has would be drawn as boxes.

A page keeps its pictures' text as text, so that the reader's browser finds the fonts. A PNG file has a code such as
`\u4f60` in place of each character that no font on this machine has.
"""

import unicodedata
from collections.abc import Callable, Iterable

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

from verl_vip.text import code, readable

#: Of these, the installed ones give what DejaVu Sans lacks: matplotlib takes each character from the first that has it.
_FALLBACKS = (
    *("Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR"),
    *("Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans GB", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "Meiryo", "Malgun Gothic", "Arial Unicode MS"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Unifont"),
    *("Noto Sans Symbols2", "Symbola", "Noto Emoji"),
)

#: Room for a line of a legend, in points.
_LINE_POINTS = 285.0
#: Size of a legend's text, in points.
LABEL_SIZE = 8.5

_ELLIPSIS = "…"
_BLANK = "(no label)"
#: More characters than this are not measured.
_MOST_CHARACTERS = 200
#: Marks that may stand above each other on one letter; hundreds would leave no room for the picture.
_MOST_MARKS = 3


def label_text(text: str, points: float = _LINE_POINTS, lines: int = 2, size: float = LABEL_SIZE) -> str:
    """Return text as a label in a picture: readable, not blank, and no wider than there is room.

    What is too long goes into further lines; of what is still too long the middle is left out. A first underscore
    comes after a space, so that it hides nothing.

    Args:
        text: Any text.
        points: Room for a line.
        lines: How many lines there may be.
        size: Of the letters, in points.
    """
    shown = _with_few_marks(readable(" ".join(text.split()))) or _BLANK
    if shown.startswith("_"):
        shown = f" {shown}"
    return "\n".join(_fit(shown, points, lines, size))


def label_texts(names: Iterable[str], points: float = _LINE_POINTS, lines: int = 2) -> dict[str, str]:
    """Return the label of each name, see `label_text`; labels that would be alike are numbered."""
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        label, number = label_text(name, points, lines), 1
        while label in taken:
            number += 1
            end = f" ({number})"
            label = label_text(name, points - text_width(end), lines) + end
        labels[name] = label
        taken.add(label)
    return labels


def font_families() -> list[str]:
    """Return the families that pictures take characters from: DejaVu Sans, and what is installed for the rest."""
    installed = {entry.name for entry in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]


def drawable(text: str) -> str:
    r"""Return text with a code such as `\u4f60` in place of each character that no font here has."""
    if text.isascii():
        return text
    fonts = [get_font(findfont(FontProperties(family=family))) for family in font_families()]
    return "".join(
        character
        if character == "\n" or any(font.get_char_index(ord(character)) for font in fonts)
        else code(character)
        for character in text
    )


def text_width(text: str, size: float = LABEL_SIZE) -> float:
    """Return the width in points of a line as a PNG file shows it."""
    font = FontProperties(family=font_families(), size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(drawable(text), font, ismath=False)
    return float(width)


def _with_few_marks(text: str) -> str:
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def _fit(text: str, points: float, lines: int, size: float) -> list[str]:
    if len(text) <= _MOST_CHARACTERS and text_width(text, size) <= points:
        return [text]
    if lines == 1:
        return [_without_middle(text, points, size)]
    end = max(_longest(lambda count: text[:count], min(len(text), _MOST_CHARACTERS), points, size), 1)
    space = text.rfind(" ", end // 2, end + 1)
    cut = space if space > 0 else end
    return [text[:cut], *_fit(text[cut:].lstrip() or _ELLIPSIS, points, lines - 1, size)]


def _without_middle(text: str, points: float, size: float) -> str:
    def kept(count: int) -> str:
        head = (count + 1) // 2
        return f"{text[:head]}{_ELLIPSIS}{text[len(text) - (count - head) :]}"

    return kept(_longest(kept, min(len(text) - 1, _MOST_CHARACTERS), points, size))


def _longest(kept: Callable[[int], str], most: int, points: float, size: float) -> int:
    """Return how many characters, at most `most`, may be kept so that there is room; 0 if not even one."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(kept(middle), size) <= points else (low, middle - 1)
    return low
