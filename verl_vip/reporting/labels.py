r"""Makes labels for pictures from untrusted text.

Matplotlib reads text between `$` signs as mathematics (`verl_vip.reporting.style` turns this off), and omits labels
with a leading underscore from legends. Long labels leave no room for the plot, and characters that no font has would be
drawn as boxes.

On a page, the text of pictures stays text, so that the reader's browser finds the fonts. In a PNG file, a code such as
`\u4f60` replaces each character that no font on this machine has.
"""

import unicodedata
from collections.abc import Callable, Iterable

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

from verl_vip.text import code, readable

#: Fonts for characters that DejaVu Sans lacks. Matplotlib takes each character from the first installed font that has
#: it.
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
#: The most combining marks on one letter; hundreds would leave no room for the plot.
_MOST_MARKS = 3


def label_text(text: str, points: float = _LINE_POINTS, lines: int = 2, size: float = LABEL_SIZE) -> str:
    """Return a label for a picture: readable, not blank, and no wider than the given room.

    A long text is broken into lines, and the middle of a text that is still too long is left out. A leading underscore
    is preceded by a space, so that matplotlib shows the label in legends.

    Args:
        text: Any text.
        points: The width of a line, in points.
        lines: The most lines.
        size: The font size, in points.
    """
    shown = _with_few_marks(readable(" ".join(text.split()))) or _BLANK
    if shown.startswith("_"):
        shown = f" {shown}"
    return "\n".join(_fit(shown, points, lines, size))


def label_texts(names: Iterable[str], points: float = _LINE_POINTS, lines: int = 2) -> dict[str, str]:
    """Return the label of each name, as by `label_text`; labels that would be equal are numbered."""
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
    """Return the font families for pictures: DejaVu Sans, and the installed fallbacks for other characters."""
    installed = {entry.name for entry in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]


def drawable(text: str) -> str:
    r"""Return text in which a code such as `\u4f60` replaces each character that no font on this machine has."""
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
    """Return the width of a line in a PNG file, in points."""
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
    """Return the largest number of characters, at most `most`, that fit into the width; 0 if not even one does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(kept(middle), size) <= points else (low, middle - 1)
    return low
