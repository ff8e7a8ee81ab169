import contextlib
import xml.etree.ElementTree as ET

import pytest

from verl_vip.errors import StateError
from verl_vip.reporting.page import Picture, gallery, write_page
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
