"""A page: one self-contained HTML file with its pictures inside, and the pictures as PNG files beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from verl_vip.reporting.markup import html_text
from verl_vip.reporting.style import save_png, svg_text


@dataclass(frozen=True)
class Picture:
    """One figure of a page; `name` is its file name without the ending, unique in the page."""

    name: str
    title: str
    caption: str
    figure: Figure

    def html(self) -> str:
        """Return the picture as a figure element with its drawing inside."""
        drawing = svg_text(self.figure, self.name).replace(
            "<svg ", f'<svg role="img" aria-label="{html_text(f"{self.title}. {self.caption}")}" ', 1
        )
        caption = f"<figcaption>{html_text(self.caption)}</figcaption>"
        return f"<figure><h3>{html_text(self.title)}</h3>{drawing}{caption}</figure>"


def gallery(pictures: Sequence[Picture]) -> str:
    """Return pictures beside each other where there is room; nothing if there are none."""
    shown = "".join(picture.html() for picture in pictures)
    return f'<div class="pictures">{shown}</div>' if shown else ""


def write_page(output: Path, title: str, subtitle: str, body: str, pictures: Sequence[Picture]) -> Path:
    """Write a page and its pictures.

    Args:
        output: The HTML file; pictures go to the folder `<output without its ending>_pictures`.
        title: Of the page.
        subtitle: Below it.
        body: HTML, what it shows escaped.
        pictures: Those that the body holds.

    Returns:
        The path of the HTML file.
    """
    folder = output.with_name(f"{output.stem}_pictures")
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        save_png(picture.figure, folder / f"{picture.name}.png", picture.title)
    resources = files("verl_vip.reporting")
    page = Template((resources / "template.html").read_text(encoding="utf-8")).substitute(
        title=html_text(title),
        subtitle=html_text(subtitle),
        style=(resources / "report.css").read_text(encoding="utf-8"),
        body=body,
    )
    output.write_text(page, encoding="utf-8")
    return output
