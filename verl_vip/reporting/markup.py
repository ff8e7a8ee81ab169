"""HTML elements of report pages. All text from a run is escaped here."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

from verl_vip.statistics.intervals import Estimate
from verl_vip.text import readable

Tone = Literal["", "good", "bad"]

MISSING = "–"


def tone_of(difference: Estimate) -> Tone:
    """Return the tone of a difference: good or bad if its interval excludes 0, and neutral otherwise."""
    return "good" if difference.low > 0 else "bad" if difference.high < 0 else ""


def html_text(text: str) -> str:
    """Return HTML that shows any text; see `verl_vip.text.readable`."""
    return escape(readable(text))


def card(title: str, value: str, detail: str = "", tone: Tone = "", *, wide: bool = False) -> str:
    """Return a card with one headline figure; a wide one takes the width of the page."""
    kind = " ".join(["card", *(["wide"] if wide else []), tone])
    return (
        f'<div class="{kind}"><p class="name">{html_text(title)}</p><p class="value">{html_text(value)}</p>'
        f'<p class="detail">{html_text(detail)}</p></div>'
    )


def cards(items: Sequence[str]) -> str:
    """Return a row of cards; an empty string without cards."""
    return f'<div class="cards">{"".join(items)}</div>' if items else ""


def section(title: str, *parts: str, note: str = "") -> str:
    """Return a section with a heading and a note below it; an empty string if the section has no content."""
    remark = f'<p class="note">{html_text(note)}</p>' if note else ""
    return f"<section><h2>{html_text(title)}</h2>{remark}{''.join(parts)}</section>" if any(parts) else ""


def part(title: str, body: str) -> str:
    """Return several sections under a heading of a higher level."""
    return f'<div class="part"><h2 class="part">{html_text(title)}</h2>{body}</div>'


def note(text: str) -> str:
    """Return a separate note."""
    return f'<p class="note">{html_text(text)}</p>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Return a table whose first `text_columns` columns are text and whose others are numbers."""

    def cells(values: Sequence[str], tag: str) -> str:
        kinds = ["" if k < text_columns else ' class="number"' for k in range(len(values))]
        return "".join(f"<{tag}{kind}>{html_text(value)}</{tag}>" for kind, value in zip(kinds, values, strict=True))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    heading = f"<thead><tr>{cells(head, 'th')}</tr></thead>"
    return f'<div class="scroll" tabindex="0"><table>{heading}<tbody>{body}</tbody></table></div>'


def sentences(lines: Sequence[str]) -> str:
    """Return sentences as a list; an empty string without sentences."""
    items = "".join(f"<li>{html_text(line)}</li>" for line in lines)
    return f'<ul class="note">{items}</ul>' if items else ""


def definitions(values: Mapping[str, Any]) -> str:
    """Return names and values as a list, in two columns if the page is wide enough."""
    rows = "".join(
        f"<div><dt>{html_text(key)}</dt><dd>{html_text(str(value))}</dd></div>" for key, value in values.items()
    )
    return f'<dl class="settings">{rows}</dl>'


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage; a dash if it is unknown."""
    return MISSING if share is None or math.isnan(share) else f"{100 * share:.{digits}f}%"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed number of digits; a dash if it is unknown."""
    return MISSING if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def duration(seconds: float) -> str:
    """Return a time span in a suitable unit."""
    if math.isnan(seconds):
        return MISSING
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
