import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
from matplotlib.image import imread

from verl_vip.reporting.style import PAPER, SERIES, VARIABLES, draw, save_png, series_style, svg_text


def scribble(values, ax):
    ax.plot(values, color=SERIES[0], marker="o", markeredgecolor=PAPER, label="a < b & c")
    ax.fill_between(range(len(values)), values, color=SERIES[1], alpha=0.2)
    ax.legend()


@pytest.fixture
def figure():
    return draw(scribble, [1, 3, 2])


def test_svg_takes_all_its_colours_from_the_page(figure):
    svg = svg_text(figure, "a")
    assert "var(--series-0)" in svg
    assert "var(--ink)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b(?![\w-])", re.sub(r'(url\(|href=")#[\w-]+', "", svg))


def test_svg_is_xml_that_needs_nothing_from_outside(figure):
    svg = svg_text(figure, "a")
    root = ET.fromstring(svg)
    assert root.get("viewBox")
    assert root.get("width") is None
    assert "<style" not in svg
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', svg))
    assert "a &lt; b &amp; c" in svg


def test_element_ids_are_unique_between_pictures(figure):
    def ids(name):
        return set(re.findall(r' id="([^"]+)"', svg_text(figure, name)))

    assert ids("a")
    assert ids("a").isdisjoint(ids("b"))


def test_same_picture_gives_the_same_svg(figure):
    assert svg_text(figure, "a") == svg_text(draw(scribble, [1, 3, 2]), "a")


def test_png_is_on_white_paper(figure, tmp_path):
    save_png(figure, tmp_path / "a.png", "A title")
    image = imread(tmp_path / "a.png")
    assert image.shape == (620, 960, 4)
    assert image[0, 0].tolist() == [1, 1, 1, 1]
    assert (image[:60, :300, :3] < 0.5).any(), "the title is not drawn"


def test_drawing_leaves_global_settings_alone(tmp_path):
    before = dict(mpl.rcParams)
    figure = draw(scribble, [1, 2])
    save_png(figure, tmp_path / "a.png", "")
    svg_text(figure, "a")
    assert dict(mpl.rcParams) == before


def test_drawing_never_loads_pyplot():
    program = (
        "import sys, verl_vip.reporting.style, verl_vip.reporting.curves\nprint('matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_known_strategies_keep_their_colours():
    alone, together = series_style(["vip"]), series_style(["knapsack", "uniform", "vip"])
    assert alone["vip"] == together["vip"]
    assert series_style(["vip (predictor=ridge)"])["vip (predictor=ridge)"] == alone["vip"]
    lines = [
        (style["color"], style["linestyle"])
        for style in series_style(["a", "b", "uniform", "vip", "vip (x=1)"]).values()
    ]
    assert len(set(lines)) == 5


def test_of_strategies_with_several_settings_the_colour_is_the_strategy_and_the_dashes_the_setting():
    names = [f"{strategy} (rollout.n={n})" for strategy in ("vip", "uniform", "dapo") for n in (4, 8)]
    style = series_style(names)
    for k in range(0, 6, 2):
        assert style[names[k]]["color"] == style[names[k + 1]]["color"]
    assert len({style[name]["color"] for name in names}) == 3
    assert {style[name]["linestyle"] for name in names[::2]} == {"-"}
    assert {style[name]["linestyle"] for name in names[1::2]} == {"--"}


def test_more_names_than_colours_still_differ():
    lines = [(style["color"], style["linestyle"]) for style in series_style([f"s{k}" for k in range(20)]).values()]
    assert len(set(lines)) == 20


def test_every_colour_has_one_variable():
    assert len(set(VARIABLES.values())) == len(VARIABLES)
