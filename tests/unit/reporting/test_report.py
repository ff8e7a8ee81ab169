import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fixtures.pages import laid_out
from matplotlib.image import imread

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.records.records import RECORDS_FILE, read_run
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
        "Accuracy",
        "Rollouts",
        "Predictions and overhead",
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
    assert len(names) == 10
    assert all(imread(folder / name).shape[1] == 960 for name in names)


def test_report_is_the_same_twice(write_run, tmp_path):
    folder = write_run(tmp_path / "run", steps=0)
    first = write_report([folder], tmp_path / "first.html").read_bytes()
    assert write_report([folder / RECORDS_FILE], tmp_path / "second.html").read_bytes() == first


def test_report_of_several_runs(write_run, tmp_path):
    groups = {
        strategy: [write_run(tmp_path / strategy / f"seed{seed}", strategy, steps=5, seed=seed) for seed in (0, 1)]
        for strategy in ("uniform", "vip")
    }
    folders = [folder for seeds in groups.values() for folder in seeds]
    page = Page(write_report(folders, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.headings[0] == "4 runs compared"
    assert page.headings[1:] == [
        "Outcome",
        "Accuracy",
        "Rollouts",
        "Predictions and overhead",
        "Runs",
        "Settings that differ",
        "Settings in common",
    ]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<p>uniform, vip</p>" in text
    for group, seeds in groups.items():
        reached = [read_run(folder).validations[-1].accuracy for folder in seeds]
        assert f'<td>{group}</td><td class="number">2</td><td class="number">1,280</td>' in text
        assert f'<td class="number">{50 * sum(reached):.1f}%</td>' in text


def test_report_of_a_sweep_with_evaluations(write_run, write_evaluations, tmp_path, caplog):
    for strategy in ("uniform", "vip"):
        for per_prompt in (4, 8):
            write_run(tmp_path / "sweep" / f"{strategy}-{per_prompt}", strategy, steps=5, per_prompt=per_prompt)
    evaluations = write_evaluations(tmp_path / "evaluations", {"base": 1, "vip-step5": 3})
    output = write_report([tmp_path / "sweep", evaluations, tmp_path / "nowhere"], tmp_path / "report.html")
    text = output.read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings[:3] == ["4 runs compared", "Left out", "Outcome"]
    assert "nowhere does not exist" in text
    assert "nowhere does not exist" in caplog.text
    pictures = {path.stem for path in (tmp_path / "report_pictures").iterdir()}
    assert {"pareto", "accuracy_by_rollouts", "accuracy_by_tokens", "accuracy_by_time", "pass_at_k_sums"} <= pictures
    for strategy in ("uniform", "vip"):
        for per_prompt in (4, 8):
            run = read_run(tmp_path / "sweep" / f"{strategy}-{per_prompt}")
            row = f'<td>{strategy} (rollout.n={per_prompt})</td><td class="number">1</td>'
            cells = f'<td class="number">{run.rollouts_total:,}</td>'
            assert f'{row}{cells}<td class="number">{100 * run.validations[-1].accuracy:.1f}%</td>' in text
    assert page.headings[page.headings.index("Evaluations") :][:2] == ["Evaluations", "Results"]
    for model, mean in (("base", 25.0), ("vip-step5", 75.0)):
        assert f'<td>{model}</td><td>sums</td><td class="number">3</td><td class="number">4</td>' in text
        assert f'<td class="number">{mean:.1f}% [' in text


def test_report_of_evaluations_alone(write_evaluations, tmp_path):
    evaluations = write_evaluations(tmp_path / "evaluations", {"base": 1, "vip-step5": 3})
    page = Page(write_report([evaluations], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.headings[:3] == ["2 models evaluated", "Results", "Compared with base"]


def test_report_refuses_no_run_and_a_run_twice(run_folder, tmp_path):
    with pytest.raises(InvalidInputError, match="no run to report on"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(InvalidInputError, match="given twice"):
        write_report([run_folder, run_folder / RECORDS_FILE], tmp_path / "report.html")
    with pytest.raises(InvalidInputError, match="does not exist"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [500, 1280])
def test_long_and_hostile_text_stays_within_the_page(write_run, write_evaluations, tmp_path, width):
    names = ["x" * 400, "price_$5_to_$10", "_x", "数学 题目" * 40, "</td><script>alert(1)</script>", "\u202e\x00"]
    for k, name in enumerate(names):
        write_run(tmp_path / "runs" / f"{k}-{'w' * 200}", name, steps=2, seed=k)
    evaluations = write_evaluations(tmp_path / "evaluations", {"a": 1, "b": 2, "c-step5": 3})
    for plain, hostile in {"a": "m" * 200, "b": "_x", "c-step5": "$a$-step5"}.items():
        (evaluations / plain).rename(evaluations / hostile)  # as whoever owns the folder may
    (tmp_path / "runs" / ("lost" * 50)).mkdir()
    (tmp_path / "runs" / ("lost" * 50) / RECORDS_FILE).write_text("damaged\n")
    page = write_report([tmp_path / "runs", evaluations], tmp_path / "report.html").read_text(encoding="utf-8")
    inner, scrolled, scripts = laid_out(page, tmp_path, width)
    assert inner == width
    assert scrolled <= inner
    assert scripts == 1


@pytest.mark.parametrize(("run", "output", "name"), [("/a\0b", "/x", "run"), ("/a", "/x\0y", "output")])
def test_what_can_be_no_path_is_refused(run, output, name):
    with pytest.raises(ConfigError, match=f"^{name} must be text that can be a path; got "):
        write_report([Path(run)], Path(output))
