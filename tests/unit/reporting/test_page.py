import contextlib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from verl_vip.errors import ConfigError, StateError, VerlVipError
from verl_vip.reporting.page import Picture, gallery, require_page, write_page
from verl_vip.reporting.style import draw
from verl_vip.text import file_stem


@pytest.fixture
def picture():
    return Picture("slope", "A <slope>", "It rises & rises.", draw(lambda ax: ax.plot([1, 2])))


def test_gallery_holds_each_picture_with_title_and_caption(picture):
    (figure,) = ET.fromstring(gallery([picture]))
    assert figure.find("h3").text == "A <slope>"
    assert figure.find("figcaption").text == "It rises & rises."
    assert figure.find("{http://www.w3.org/2000/svg}svg") is not None


def test_empty_gallery_is_nothing():
    assert gallery([]) == ""


def test_page_is_written_with_its_pictures(picture, tmp_path):
    output = write_page(tmp_path / "new" / "page.html", "a & b", "<sub>", gallery([picture]), [picture])
    text = output.read_text(encoding="utf-8")
    assert "<h1>a &amp; b</h1>" in text
    assert "<p>&lt;sub&gt;</p>" in text
    assert gallery([picture])[:60] in text
    assert (tmp_path / "new" / "page_pictures" / "slope.png").read_bytes()[:4] == b"\x89PNG"


def test_a_full_disk_is_named_and_costs_no_earlier_page(picture, small_disk):
    output = small_disk / "page.html"
    write_page(output, "first", "", gallery([picture]), [picture])
    before = {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()}
    with (small_disk / "ballast").open("wb") as ballast, contextlib.suppress(OSError):
        ballast.write(bytes(4_000_000))
    with pytest.raises(StateError, match=r"page\.html cannot be used: No space left on device\. Free some space"):
        write_page(output, "second", "", gallery([picture]) + " " * 100_000, [picture])
    assert {path: path.read_bytes() for path in before} == before
    assert {path for path in small_disk.rglob("*") if path.is_file()} == {*before, small_disk / "ballast"}
    (small_disk / "ballast").unlink()
    assert "second" in write_page(output, "second", "", gallery([picture]), [picture]).read_text()


@pytest.mark.parametrize("output", [".", "/", "", "..", "{}", "{}/", "{}/x/.."])
def test_a_folder_is_no_page(tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    output = Path(output.format(tmp_path))
    for refuse in (require_page, lambda place: write_page(place, "", "", "", [])):
        with pytest.raises(ConfigError, match=f"^{output} is a folder; give a file for the page"):
            refuse(output)
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_a_device_is_not_replaced_by_a_page():
    with pytest.raises(ConfigError, match="/dev/null is not a regular file; give a file"):
        write_page(Path("/dev/null"), "", "", "", [])


@pytest.mark.parametrize("name", ["file/page.html", "file/new/page.html", f"{'x' * 300}.html", f"{'x' * 300}/p.html"])
def test_a_place_that_can_hold_no_page_is_named_as_it_was_given(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(VerlVipError) as refused:
        write_page(tmp_path / name, "", "", "", [])
    assert str(refused.value).startswith(f"{tmp_path / name} cannot be used: ")
    assert "space" not in str(refused.value)
    assert "another place" in str(refused.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_where_the_pictures_go_is_named(picture, tmp_path):
    (tmp_path / "page_pictures").touch()
    with pytest.raises(StateError, match=r"page_pictures cannot be used: .*\. Choose another place"):
        write_page(tmp_path / "page.html", "", "", "", [picture])


def test_a_page_holds_any_text_and_its_pictures_any_name(tmp_path):
    hostile = "\ud800\x00\u202e</script> $\\frac{"
    picture = Picture(file_stem(f"../{hostile}{'x' * 300}"), hostile, hostile, draw(lambda ax: ax.plot([1, 2])))
    output = write_page(tmp_path / "page.html", hostile, hostile, gallery([picture]), [picture])
    text = output.read_text(encoding="utf-8")
    assert "<h1>\\ud800\\x00\\u202e&lt;/script&gt; $\\frac{</h1>" in text
    assert [path.parent for path in tmp_path.rglob("*.png")] == [tmp_path / "page_pictures"]


def test_characters_that_no_font_has_are_told(tmp_path, caplog):
    picture = Picture("slope", "A \U0010f123", "", draw(lambda ax: ax.plot([1, 2])))
    write_page(tmp_path / "page.html", "", "", gallery([picture]), [picture])
    assert (
        f"No installed font has \U0010f123, so the PNG files in {tmp_path / 'page_pictures'} show codes" in caplog.text
    )
