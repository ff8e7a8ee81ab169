"""The result folder survives kills, and refuses what it does not hold."""

import json
from dataclasses import replace

import pytest

from verl_vip.errors import StateError
from verl_vip.evaluation.folder import ResultFolder, make_manifest
from verl_vip.evaluation.grading import Grade
from verl_vip.evaluation.metrics import Graded, ProblemRow
from verl_vip.evaluation.results import Sample
from verl_vip.evaluation.sampling import SamplingSettings

VERSIONS = {"vllm": "0.28.0"}


def open_with(folder, model, benchmark, versions=VERSIONS, sha256="a", **settings):
    manifest = make_manifest(model, sha256, benchmark, SamplingSettings(**settings), versions)
    return folder.open(manifest, [problem.id for problem in benchmark.problems])


def fill(folder, benchmark, n=16):
    folder.append([sample(number, problem.id) for problem in benchmark.problems for number in range(n)])


ROW = ProblemRow("p", "sums", 1, 1, {1: 1.0}, "4", 1.0, 0, 0, 3.0, 0)


@pytest.fixture
def finish(make_metrics):
    def write(folder, n=16):
        folder.finish([Graded(sample(0), Grade("4", True, None))], [ROW], make_metrics(n=n))

    return write


def sample(number, problem="p"):
    return Sample(problem, number, f"text {number}", "stop", 3, 9)


@pytest.fixture
def folder(tmp_path):
    made = ResultFolder(tmp_path / "cell")
    made.path.mkdir()
    return made


def test_samples_come_back(folder):
    assert folder.samples() == []
    folder.append([sample(0), sample(1)])
    folder.append([sample(2)])
    assert folder.samples() == [sample(0), sample(1), sample(2)]


@pytest.mark.parametrize("kept", range(1, 80, 7))
def test_a_line_torn_by_a_kill_is_sampled_anew(folder, kept):
    folder.append([sample(0), sample(1)])
    path = folder.path / "samples.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + min(kept, len(whole) - first - 1)])
    assert folder.samples() == [sample(0)]
    folder.append([sample(1)])
    assert folder.samples() == [sample(0), sample(1)]
    assert path.read_bytes() == whole


def test_damage_in_the_middle_is_named(folder):
    folder.append([sample(0), sample(1)])
    path = folder.path / "samples.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"problem"', b'"promlem"', 1))
    with pytest.raises(StateError, match="line 1 is damaged"):
        folder.samples()


def test_a_sample_twice_is_named(folder):
    folder.append([sample(0), sample(0)])
    with pytest.raises(StateError, match="line 2 repeats sample 0 of p"):
        folder.samples()


def test_open_goes_on_with_the_same_and_refuses_anything_else(tmp_path, model, sums):
    folder = ResultFolder(tmp_path / "cell")
    assert len(open_with(folder, model, sums)) == 64
    assert folder.manifest().benchmark.problems == 4
    first = sums.problems[0].id
    folder.append([sample(0, first)])
    missing = open_with(folder, model, sums)
    assert len(missing) == 63
    assert (first, 0) not in missing
    with pytest.raises(StateError, match=r"sampling.temperature is 1.0 there, but 0.6 here; sampling.seed is 0 there"):
        open_with(folder, model, sums, temperature=0.6, seed=5)
    with pytest.raises(StateError, match=r"the content of the model differs. Give another --output"):
        open_with(folder, model, sums, sha256="b")
    with pytest.raises(StateError, match=r"versions.vllm is 0.28.0 there, but 0.29.0 here"):
        open_with(folder, model, sums, versions={"vllm": "0.29.0"})


def test_half_a_character_in_a_response_is_replaced_before_it_is_kept_and_when_it_was(folder):
    folder.append([Sample("p", 0, "a\ud800", "stop", 1, 1)])
    path = folder.path / "samples.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\\ufffd", b"\\udfff"))
    assert b"\\udfff" in path.read_bytes()
    assert folder.samples()[0].text == "a\ufffd"


def test_a_folder_without_samples_begins_anew_with_anything(tmp_path, model, sums):
    folder = ResultFolder(tmp_path / "cell")
    open_with(folder, model, sums)
    assert len(open_with(folder, model, sums, versions={"vllm": "0.29.0"}, sha256="b", temperature=0.6)) == 64
    assert folder.manifest().versions == {"vllm": "0.29.0"}
    assert folder.manifest().model.sha256 == "b"


def test_samples_that_are_all_there_need_no_equal_versions(tmp_path, model, sums):
    folder = ResultFolder(tmp_path / "cell")
    open_with(folder, model, sums)
    fill(folder, sums)
    assert open_with(folder, model, sums, versions={"vllm": "0.29.0"}) == []
    assert open_with(folder, model, sums, versions={"vllm": "0.29.0"}, n=8) == []
    with pytest.raises(StateError, match=r"versions.vllm is 0.28.0 there, but 0.29.0 here"):
        open_with(folder, model, sums, versions={"vllm": "0.29.0"}, n=17)


def test_another_n_extends_or_takes_the_first(tmp_path, model, sums, caplog, finish):
    caplog.set_level("INFO")
    folder = ResultFolder(tmp_path / "cell")
    open_with(folder, model, sums, n=4)
    fill(folder, sums, 4)
    finish(folder, 4)
    assert open_with(folder, model, sums, n=6) == [(one.id, number) for one in sums.problems for number in (4, 5)]
    assert "holds 16 samples; the missing 8 are sampled" in caplog.text
    assert folder.manifest().sampling["n"] == 6
    assert folder.is_finished  # what was graded is still there
    assert open_with(folder, model, sums, n=3) == []
    assert "holds 4 samples of each problem; the first 3 are used" in caplog.text


def test_prompts_that_are_not_in_the_benchmark_are_refused(tmp_path, model, sums):
    folder = ResultFolder(tmp_path / "cell")
    open_with(folder, model, sums)
    fill(folder, sums)
    other = replace(sums, problems=(*sums.problems[:2], replace(sums.problems[2], id="other")))
    with pytest.raises(StateError, match=r"2 of the problems sampled there are not in the benchmark\. Give another"):
        open_with(folder, model, other)
    more = replace(sums, problems=(*sums.problems, replace(sums.problems[0], id="other")))
    assert open_with(folder, model, more, n=2) == [("other", 0), ("other", 1)]


def test_metrics_of_samples_that_are_gone_are_removed(tmp_path, model, sums, finish):
    folder = ResultFolder(tmp_path / "cell")
    open_with(folder, model, sums, n=4)
    fill(folder, sums, 4)
    finish(folder, 4)
    path = folder.path / "samples.jsonl"
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    assert open_with(folder, model, sums, n=4) == [(sums.problems[0].id, 0)]
    assert not folder.is_finished


def test_samples_without_a_manifest_are_not_adopted(tmp_path, model, sums):
    folder = ResultFolder(tmp_path / "cell")
    folder.path.mkdir()
    folder.append([sample(0)])
    with pytest.raises(StateError, match="samples but no manifest"):
        open_with(folder, model, sums)


def test_metrics_are_written_last_and_nothing_partial_stays(folder, finish, make_metrics):
    with pytest.raises(RuntimeError):
        folder.finish((raise_() for _ in (0,)), [ROW], make_metrics())
    assert not folder.is_finished
    finish(folder)
    assert folder.is_finished
    head, row = (folder.path / "problems.csv").read_text().splitlines()
    assert head.startswith("problem,source,n,correct,mean,pass_at_1,majority,majority_correct,unanswered,truncated,")
    assert (head.partition("truncated,")[2], row) == ("tokens,disagreements", "p,sums,1,1,1.0,1.0,4,1.0,0,0,3.0,0")
    (grade,) = (folder.path / "grades.jsonl").read_text().splitlines()
    assert json.loads(grade) == {
        "problem": "p",
        "sample": 0,
        "answer": "4",
        "correct": True,
        "second": None,
        "truncated": False,
    }
    assert sorted(path.name for path in folder.path.iterdir()) == ["grades.jsonl", "metrics.json", "problems.csv"]


def test_damaged_metrics_are_named(folder, finish):
    finish(folder)
    (folder.path / "metrics.json").write_text('{"format": 1}')
    with pytest.raises(StateError, match=r"metrics\.json cannot be used: model is missing\. Remove it and evaluate"):
        folder.metrics()


def test_an_evaluation_that_lost_its_table_is_not_finished(folder, finish):
    finish(folder)
    (folder.path / "problems.csv").unlink()
    assert not folder.is_finished


def raise_():
    raise RuntimeError


def test_a_damaged_manifest_is_named(folder, model, sums):
    folder.append([sample(0)])
    (folder.path / "manifest.json").write_text("{")
    with pytest.raises(StateError, match=r"manifest.json is damaged"):
        open_with(folder, model, sums)
    (folder.path / "manifest.json").write_text(json.dumps([]))
    with pytest.raises(StateError, match="does not contain a JSON object"):
        open_with(folder, model, sums)
