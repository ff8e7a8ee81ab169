"""Every text gives a picture: whole, within its edges, with an entry of the legend for each line."""

import warnings
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from verl_vip.reporting.axes import legend_above, legend_rows
from verl_vip.reporting.labels import drawable, label_text, label_texts, text_width
from verl_vip.reporting.style import draw, save_png, svg_text

#: Any code points, and what has a meaning to matplotlib, to XML or to the page's style.
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.text(st.sampled_from(["$", "_", "\\", "{", "^", "%", "#", "<", "&", '"', "\n", " ", "x", "\u0301", "你", "W"])),
    st.text(min_size=1, max_size=20).map(lambda text: text * 40),
)
KNOWN = [
    *("$", "$$", "price_$5_to_$10", r"$\frac{", "_x", "_nolegend_", "", " ", "x" * 400, "W" * 400, "a\nb", "a b"),
    *("你好世界" * 30, "😀" * 50, "﷽" * 50, "a" + "\u0301" * 400, "\u202eabc", "\ud800", "\x00", "</text><script>"),
    *("vip (lr=0.00125, colour=#1f2933)", 'id="x"', "font-family: x; ", "%(x)s {x} \\N{BULLET}"),
]


def lines(names, ax):
    labels = label_texts(names)
    for place, name in enumerate(names):
        ax.plot([0, 1], [place, place + 1], label=labels[name])
    ax.set_xlabel(label_text(names[0]))
    legend_above(ax)


def rows(names, ax):
    for place, name in enumerate(names):
        ax.annotate(label_text(name, 150, lines=1), (0, place))
    ax.set_yticks(range(len(names)), [label_text(name, 120, lines=2) for name in names])


@settings(max_examples=8)  # half a second each; test_labels_are_told_apart has the many
@given(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
@example(KNOWN[:6])
@example(KNOWN[6:12])
@example(KNOWN[12:16])
@example(KNOWN[16:20])
@example(KNOWN[20:])
def test_every_label_gives_a_picture(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("picture") / "a.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(lines, names, height=3 + 0.2 * max(legend_rows(names), 2))
        save_png(figure, path, names[0])
        svg = ET.fromstring(svg_text(figure, "a"))
        ET.fromstring(svg_text(other := draw(rows, names), "b"))
        save_png(other, path.with_name("b.png"), "")
    assert imread(path).shape[1] == 960
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(label_texts(names).values())
    assert legend.get_window_extent().x1 <= figure.bbox.x1 + 1
    written = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    for label in label_texts(names).values():
        assert {line.strip() for line in label.split("\n")} <= {(text or "").strip() for text in written}


@given(TEXTS, st.floats(40, 400), st.integers(1, 3))
@example("x" * 400, 100.0, 2)
def test_a_label_is_as_wide_as_there_is_room_and_never_blank(text, points, lines):
    label = label_text(text, points, lines)
    found = label.split("\n")
    assert label.strip()
    assert not label.startswith("_")
    assert len(found) <= lines
    # One character may need more room than there is: the code of one that no font has.
    assert all(text_width(line) <= points or len(line) <= 12 for line in found)


@given(st.lists(TEXTS, unique=True, max_size=6))
def test_labels_are_told_apart(names):
    labels = label_texts(names)
    assert len(set(labels.values())) == len(names) == len(labels)


def test_what_fits_stays_as_it_is():
    for text in ("vip (rollout.n=4)", "$5 & more", "a_b", "naïve"):
        assert label_text(text) == text


def test_long_labels_keep_both_ends():
    label = label_text("begin" + "x" * 400 + "end")
    assert label.startswith("begin")
    assert label.endswith("end")
    assert "…" in label


@pytest.mark.parametrize("number", [0x10F123, 0xE123])
def test_png_files_have_codes_for_what_no_font_has(tmp_path, number):
    """Code points for private use, which a font for all scripts does not have either."""
    character = chr(number)
    code = f"\\U{number:08x}" if number > 0xFFFF else f"\\u{number:04x}"
    assert drawable(f"a{character}") == f"a{code}"

    def plot(label, ax):
        ax.plot([0, 1], label=label)
        ax.legend()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert save_png(draw(plot, f"a{character}"), tmp_path / "missing.png", "") == character
        assert save_png(draw(plot, f"a{code}"), tmp_path / "code.png", "") == ""
    assert (tmp_path / "missing.png").read_bytes() == (tmp_path / "code.png").read_bytes()
    assert character in svg_text(draw(plot, f"a{character}"), "a")
