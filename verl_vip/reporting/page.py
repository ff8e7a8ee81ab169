"""A page: one self-contained HTML file with its pictures, which are also written as PNG files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from verl_vip.durable_files import replace_file
from verl_vip.errors import StateError
from verl_vip.reporting.markup import html_text
from verl_vip.reporting.style import save_png, svg_text
from verl_vip.text import code

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """One picture of a page; `name` is its file name without the suffix, unique in the page."""

    name: str
    title: str
    caption: str
    figure: Figure

    def html(self) -> str:
        """Return the picture as an HTML figure element with its drawing."""
        drawing = svg_text(self.figure, self.name).replace(
            "<svg ", f'<svg role="img" aria-label="{html_text(f"{self.title}. {self.caption}")}" ', 1
        )
        caption = f"<figcaption>{html_text(self.caption)}</figcaption>"
        return f"<figure><h3>{html_text(self.title)}</h3>{drawing}{caption}</figure>"


def gallery(pictures: Sequence[Picture]) -> str:
    """Return pictures side by side if the page is wide enough; an empty string without pictures."""
    shown = "".join(picture.html() for picture in pictures)
    return f'<div class="pictures">{shown}</div>' if shown else ""


def write_page(output: Path, title: str, subtitle: str, body: str, pictures: Sequence[Picture]) -> Path:
    """Write a page and its pictures.

    Args:
        output: The HTML file. The pictures go to the folder `<output without its suffix>_pictures`.
        title: The title of the page.
        subtitle: The text below the title.
        body: The page's body as HTML, with all text escaped.
        pictures: The pictures in the body.

    Returns:
        The path of the HTML file.

    Raises:
        StateError: If a file cannot be written, for example on a full disk. Earlier files are kept.
    """
    resources = files("verl_vip.reporting")
    page = Template((resources / "template.html").read_text(encoding="utf-8")).substitute(
        title=html_text(title),
        subtitle=html_text(subtitle),
        style=(resources / "report.css").read_text(encoding="utf-8"),
        body=body,
    )
    folder = output.with_name(f"{output.stem}_pictures")
    try:
        replace_file(output, page.encode())
        missing = [save_png(picture.figure, folder / f"{picture.name}.png", picture.title) for picture in pictures]
    except OSError as error:
        raise StateError(
            f"{error.filename or output} cannot be used: {error.strerror}. Free some space or choose another place "
            "for the report, and run the command again."
        ) from error
    if characters := "".join(sorted(set().union(*missing))):
        _logger.warning(
            "No installed font has %s, so the PNG files in %s show codes such as %s; install one that does, such as "
            "Noto Sans CJK. The page is not affected, because it uses its reader's fonts.",
            characters[:20],
            folder,
            code(characters[0]),
        )
    return output
