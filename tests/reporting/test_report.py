from html.parser import HTMLParser

import pytest
from matplotlib.image import imread

from verl_vip.errors import InvalidInputError
from verl_vip.reporting.records import RECORDS_FILE
from verl_vip.reporting.report import write_report

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects links and headings, and checks that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.links, self.headings, self.open, self.tags = [], [], [], set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for key, value in attrs if key in {"href", "src", "xlink:href", "srcset", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] in {"h1", "h2"}:
            self.headings.append(data)


@pytest.fixture(scope="module")
def report(run_folder, tmp_path_factory):
    return write_report([run_folder], tmp_path_factory.mktemp("report") / "new" / "report.html")


def test_report_of_one_run(report, run_folder):
    page = Page(report.read_text(encoding="utf-8"))
    assert page.headings == [
        run_folder.name,
        "Pictures",
        "Predictions before sampling",
        "Families",
        "Starts",
        "Settings",
        "Versions",
    ]


def test_report_needs_nothing_from_outside(report):
    text = report.read_text(encoding="utf-8")
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe"})
    assert "@import" not in text
    assert "url(http" not in text


def test_report_escapes_what_the_run_says(report):
    text = report.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in text


def test_report_adapts_to_dark_to_phones_and_to_paper(report):
    text = report.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text


def test_pictures_lie_beside_the_report(report):
    folder = report.parent / "report_pictures"
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 9
    assert all(imread(folder / name).shape[1] == 960 for name in names)


def test_report_is_the_same_twice(write_run, tmp_path):
    folder = write_run(tmp_path / "run", steps=0)
    first = write_report([folder], tmp_path / "first.html").read_bytes()
    assert write_report([folder / RECORDS_FILE], tmp_path / "second.html").read_bytes() == first


def test_report_of_several_runs(write_run, tmp_path):
    folders = [
        write_run(tmp_path / strategy / f"seed{seed}", strategy, steps=5, seed=seed)
        for strategy in ("uniform", "vip")
        for seed in (0, 1)
    ]
    page = Page(write_report(folders, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.headings[0] == "4 runs compared"
    assert "Strategies" in page.headings
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "uniform/seed0, uniform/seed1, vip/seed0, vip/seed1" in text
    assert "vip (2 runs)" in text


def test_report_refuses_no_run_and_a_run_twice(run_folder, tmp_path):
    with pytest.raises(InvalidInputError, match="no run to report on"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(InvalidInputError, match="given twice"):
        write_report([run_folder, run_folder / RECORDS_FILE], tmp_path / "report.html")
    with pytest.raises(InvalidInputError, match="does not exist"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
