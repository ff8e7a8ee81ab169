"""The style of pictures: colours that can be distinguished with any colour vision, on light and dark backgrounds.

A picture is drawn once, in the light colours. In a web page, each colour becomes a CSS variable
(`--ink`, `--faint`, `--paper`, `--series-0` and so on), which the page sets for light, dark and print.
"""

import io
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

from verl_vip.durable_files import replace_file
from verl_vip.reporting.canvas import LegibleCanvas
from verl_vip.reporting.labels import drawable, font_families, label_text

INK = "#1f2933"
FAINT = "#d3dae1"
PAPER = "#fffffe"

#: Based on the palette of Okabe and Ito, without the yellow, which is hard to see on white.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b5579a", "#e69f01", "#3a9fd8", "#7a5195", "#6b7280")

#: From hard (blue) through medium (grey) to easy prompts (brown).
BAND_COLOURS = ("#08519c", "#4c93c8", "#80868c", "#dd8a33", "#9a3a05")

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_DASHES = ("-", "--", ":", "-.")
_FIXED = {"vip": 0, "uniform": 7}

#: The CSS variable of each colour.
VARIABLES: Mapping[str, str] = {
    INK: "ink",
    FAINT: "faint",
    PAPER: "paper",
    **{colour: f"series-{k}" for k, colour in enumerate(SERIES)},
    **{colour: f"band-{k}" for k, colour in enumerate(BAND_COLOURS)},
}

_RC: dict[Any, Any] = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    # Text stays text in SVG, which gives small files and uses the page's font and colour.
    "svg.fonttype": "none",
    # Labels may contain dollar signs that do not mean mathematics.
    "text.parse_math": False,
}

_TITLE_SIZE = 10.0
_TITLE_POINTS = 325.0


def draw(plot: Callable[..., None], *args: Any, height: float = 3.1, **kwargs: Any) -> Figure:
    """Return a new figure after calling `plot(*args, ax=its_axes, **kwargs)`; pyplot does not register the figure.

    Args:
        plot: A function of `verl_vip.reporting.plots` or `curves`.
        args: The arguments of the function, without the axes.
        height: The height of the figure in inches. The width is 4.8, so that text is legible on a phone.
        kwargs: The keyword arguments of the function.
    """
    with _style():
        figure = Figure(figsize=(4.8, height), layout="constrained")
        LegibleCanvas(figure)
        plot(*args, ax=figure.add_subplot(), **kwargs)
        return figure


def series_style(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the colour, marker and line style for each name.

    Known strategies have fixed colours, and others get the next free one. If several strategies occur with several
    settings, such as `vip (rollout.n=4)`, the colour shows the strategy and the line style shows the settings.
    """
    names = list(dict.fromkeys(names))
    strategies = list(dict.fromkeys(map(_strategy, names)))
    if not 1 < len(strategies) < len(names):
        return {name: _line(index, 0) for name, index in _colours(names).items()}
    colours = _colours(strategies)
    variants = list(dict.fromkeys(_settings(name) for name in names))
    return {name: _line(colours[_strategy(name)], variants.index(_settings(name))) for name in names}


def _strategy(name: str) -> str:
    return name.partition(" (")[0]


def _settings(name: str) -> str:
    return name.partition(" (")[2]


def _colours(names: Iterable[str]) -> dict[str, int]:
    """Return an index for each name: the index of its colour, plus the number of colours for each earlier round."""
    index: dict[str, int] = {}
    others = []
    for name in names:
        fixed = _FIXED.get(_strategy(name))
        if fixed is None or fixed in index.values():
            others.append(name)
        else:
            index[name] = fixed
    free = [k for k in range(len(SERIES)) if k not in _FIXED.values()]
    index.update({name: free[k % len(free)] + len(SERIES) * (k // len(free)) for k, name in enumerate(others)})
    return index


def _line(index: int, variant: int) -> dict[str, Any]:
    dashes = variant + index // len(SERIES)
    return {
        "color": SERIES[index % len(SERIES)],
        "marker": _MARKERS[(index + variant) % len(_MARKERS)],
        "linestyle": _DASHES[dashes % len(_DASHES)],
    }


def save_png(figure: Figure, path: Path, title: str) -> str:
    """Write the picture with its title on a white background, at 200 dots per inch.

    Returns:
        The characters that no font on this machine has; the file shows codes for them.

    Raises:
        OSError: If the file cannot be written; an earlier one is kept.
    """
    buffer = io.BytesIO()
    with _style():
        text = label_text(title, _TITLE_POINTS, size=_TITLE_SIZE)
        heading = figure.suptitle(text, x=0.02, ha="left", fontsize=_TITLE_SIZE)
        figure.savefig(buffer, format="png", dpi=200, facecolor="white")
        characters = {character for found in figure.findobj(Text) for character in found.get_text()}
        heading.remove()
    replace_file(path, buffer.getvalue())
    return "".join(sorted(character for character in characters if drawable(character) != character))


def _style() -> Any:
    return rc_context({**_RC, "font.family": font_families()})


def svg_text(figure: Figure, name: str) -> str:
    """Return the picture as an `<svg>` element for a page.

    Args:
        figure: The picture.
        name: A name that is unique in the page. Element ids are derived from it, so that pictures do not share ids.
    """
    buffer = io.StringIO()
    with _style(), rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # The reader's browser has its own fonts.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        # The layout uses the widths for which labels were fitted, with codes for characters that no font here has.
        figure.draw_without_rendering()
        layout = figure.get_layout_engine()
        figure.set_layout_engine(None)  # with "none", matplotlib would draw once more for a layout
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        figure.set_layout_engine(layout)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r'#([\w-]+)["\')]', text))
    text = re.sub(r"<[^>]*>", lambda tag: _page_tag(tag[0], used), text)
    return re.sub(r"\s*\n\s*", " ", text).strip()


def _page_tag(tag: str, used: Collection[str]) -> str:
    """Return a tag of a drawing, adapted to the page. The text between tags must not be changed."""
    if tag.startswith("<svg"):
        tag = re.sub(r' (width|height)="[^"]*"', "", tag)
    tag = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", tag)
    tag = re.sub(r"font-family: [^;\"]*; ", "", tag)
    tag = re.sub(r"(\d+\.\d{2})\d+", r"\1", tag)
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag
