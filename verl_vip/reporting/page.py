"""A page: one self-contained HTML file with its pictures, which are also written as PNG files."""

import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from verl_vip.annotations import require_paths
from verl_vip.durable_files import folder_obstacle, replace_file
from verl_vip.errors import ConfigError, StateError
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


def require_page(output: Path) -> None:
    """Refuse a path that cannot be the file of a page, before what is on it is computed.

    Raises:
        ConfigError: If the path is a folder, a device, or in a folder that cannot be written to.
    """
    require_paths(output=output)
    if os.path.isdir(output):
        raise ConfigError(f"{output} is a folder; give a file for the page, such as {output / 'report.html'}.")
    if os.path.exists(output) and not os.path.isfile(output):
        raise ConfigError(f"{output} is not a regular file; give a file for the page, such as report.html.")
    if obstacle := folder_obstacle(Path(os.path.abspath(output)).parent):
        raise ConfigError(f"{output} cannot be used: {obstacle}. Choose another place for the page.")


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
        ConfigError: If the path cannot be that of a file; see `require_page`.
        StateError: If a file cannot be written, for example on a full disk. Earlier files are kept.
    """
    require_page(output)
    resources = files("verl_vip.reporting")
    page = Template((resources / "template.html").read_text(encoding="utf-8")).substitute(
        title=html_text(title),
        subtitle=html_text(subtitle),
        style=(resources / "report.css").read_text(encoding="utf-8"),
        body=body,
    )
    folder = output.with_name(f"{output.stem}_pictures")
    place = output
    try:
        replace_file(output, page.encode())
        place = folder
        missing = [save_png(picture.figure, folder / f"{picture.name}.png", picture.title) for picture in pictures]
    except OSError as error:
        remedy = "Free some space or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose"
        raise StateError(
            f"{place} cannot be used: {error.strerror}. {remedy} another place for the page, and run the command again."
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
