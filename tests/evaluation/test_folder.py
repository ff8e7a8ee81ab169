"""The result folder survives kills, and refuses what it does not hold."""

import json

import pytest

from verl_vip.errors import StateError
from verl_vip.evaluation.folder import ResultFolder, Sample, make_manifest
from verl_vip.evaluation.sampling import SamplingSettings

VERSIONS = {"vllm": "0.28.0"}


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
    def manifest(versions=VERSIONS, sha256="a", **settings):
        return make_manifest(model, sha256, sums, SamplingSettings(**settings), versions)

    folder = ResultFolder(tmp_path / "cell")
    folder.open(manifest())
    folder.open(manifest())
    assert folder.manifest()["benchmark"]["problems"] == 4
    with pytest.raises(StateError, match=r"sampling.temperature is 1.0 there and 0.6 here; sampling.seed is 0 there"):
        folder.open(manifest(temperature=0.6, seed=5))
    with pytest.raises(StateError, match=r"the content of the model is another. Give another --output"):
        folder.open(manifest(sha256="b"))
    with pytest.raises(StateError, match=r"versions.vllm is 0.28.0 there and 0.29.0 here"):
        folder.open(manifest(versions={"vllm": "0.29.0"}))


def test_a_finished_evaluation_needs_no_equal_versions(tmp_path, model, sums):
    folder = ResultFolder(tmp_path / "cell")
    folder.open(make_manifest(model, "a", sums, SamplingSettings(), VERSIONS))
    folder.finish([{"problem": "p"}], [{"problem": "p", "n": 1}], {"format": 1})
    folder.open(make_manifest(model, "a", sums, SamplingSettings(), {"vllm": "0.29.0"}))
    with pytest.raises(StateError, match=r"sampling.n is 16 there and 8 here"):
        folder.open(make_manifest(model, "a", sums, SamplingSettings(n=8), VERSIONS))


def test_samples_without_a_manifest_are_not_adopted(tmp_path, model, sums):
    folder = ResultFolder(tmp_path / "cell")
    folder.path.mkdir()
    folder.append([sample(0)])
    with pytest.raises(StateError, match="samples but no manifest"):
        folder.open(make_manifest(model, "a", sums, SamplingSettings(), VERSIONS))


def test_metrics_are_written_last_and_nothing_partial_stays(folder):
    rows = ({"problem": "p", "n": k} for k in (1,))
    with pytest.raises(RuntimeError):
        folder.finish((raise_() for _ in (0,)), list(rows), {})
    assert not folder.is_finished
    folder.finish([{"problem": "p"}], [{"problem": "p", "n": 1}], {"format": 1})
    assert folder.is_finished
    assert folder.problems() == [{"problem": "p", "n": "1"}]
    assert sorted(path.name for path in folder.path.iterdir()) == ["grades.jsonl", "metrics.json", "problems.csv"]


def test_damaged_metrics_are_named(folder):
    folder.finish([{"problem": "p"}], [{"problem": "p", "n": 1}], {"format": 1})
    with pytest.raises(StateError, match=r"metrics\.json is damaged \(benchmark is missing\); remove it"):
        folder.metrics()


def test_an_evaluation_that_lost_its_table_is_not_finished(folder):
    folder.finish([{"problem": "p"}], [{"problem": "p", "n": 1}], {"format": 1})
    (folder.path / "problems.csv").unlink()
    assert not folder.is_finished


def raise_():
    raise RuntimeError


def test_a_damaged_manifest_is_named(folder, model, sums):
    (folder.path / "manifest.json").write_text("{")
    with pytest.raises(StateError, match=r"manifest.json is damaged"):
        folder.open(make_manifest(model, "a", sums, SamplingSettings(), VERSIONS))
    (folder.path / "manifest.json").write_text(json.dumps([]))
    with pytest.raises(StateError, match="holds no JSON object"):
        folder.open(make_manifest(model, "a", sums, SamplingSettings(), VERSIONS))
