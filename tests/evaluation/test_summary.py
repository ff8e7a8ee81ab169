import pytest

from verl_vip.durable_files import replace_json
from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.finished import read_finished
from verl_vip.evaluation.folder import ResultFolder
from verl_vip.evaluation.summary import arrange, find_evaluations, summary_data


def estimate(value):
    return {"value": value, "low": 0.0, "high": 1.0}


def finished(output, label, step, benchmark, sha256, means, problems=None):
    """An evaluation with one sample of each problem."""
    folder = ResultFolder(output / label / benchmark)
    folder.path.mkdir(parents=True)
    manifest = {
        "model": {"label": label, "origin": "somewhere", "sha256": "m"},
        "benchmark": {"name": benchmark, "origin": {}, "problems": len(means), "sha256": sha256},
        "sampling": {},
        "versions": {},
    }
    replace_json(folder.path / "manifest.json", manifest)
    rows = [
        {"problem": problem, "n": 1, "mean": mean, "majority_correct": mean, "pass_at_1": mean}
        for problem, mean in zip(problems or range(len(means)), means, strict=True)
    ]
    mean = estimate(sum(means) / len(means))
    metrics = {"format": 1, "model": label, "step": step, "benchmark": benchmark, "problems": len(means), "n": 1}
    metrics |= {"mean": mean, "pass_at_k": {"1": mean}, "maj_at_k": {"1": mean}, "sources": {}}
    metrics |= {"unanswered": 0.0, "truncated": 0.0, "grader": {}, "second_opinion": None}
    folder.finish([], rows, {**metrics, "tokens": {"mean": 1.0, "median": 1, "max": 1, "total": 1}})


def test_models_come_by_run_and_step_after_those_named_first(tmp_path):
    for label, step in (("vip-step12", 12), ("vip-step6", 6), ("uniform-step6", 6), ("base", None)):
        finished(tmp_path, label, step, "sums", "s", [0.0])
    assert list(find_evaluations(tmp_path)[0]) == ["base", "uniform-step6", "vip-step6", "vip-step12"]
    assert next(iter(find_evaluations(tmp_path, ["vip-step6"])[0])) == "vip-step6"


def test_only_the_same_problems_are_compared(tmp_path):
    finished(tmp_path, "base", None, "sums", "s", [0.0, 1.0])
    finished(tmp_path, "base", None, "words", "w", [0.0])
    finished(tmp_path, "tuned", None, "sums", "s", [1.0, 1.0])
    finished(tmp_path, "tuned", None, "words", "other words", [1.0])
    finished(tmp_path, "tuned", None, "more", "m", [1.0])
    (comparison,) = summary_data(tmp_path, find_evaluations(tmp_path, ["base"])[0])["comparisons"]
    assert comparison["benchmark"] == "sums"
    assert comparison["mean"]["difference"]["value"] == pytest.approx(0.5)


def test_an_unfinished_evaluation_is_not_summed_up(tmp_path):
    (tmp_path / "base" / "sums").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="holds no finished evaluation"):
        find_evaluations(tmp_path)


def test_tables_of_other_problems_are_not_compared_whatever_their_hash_says(tmp_path):
    finished(tmp_path, "base", None, "sums", "s", [0.0, 1.0])
    finished(tmp_path, "tuned", None, "sums", "s", [1.0, 1.0], problems=["0", "other"])
    assert summary_data(tmp_path, find_evaluations(tmp_path)[0])["comparisons"] == []


def test_problems_of_one_name_in_two_benchmarks_are_two(tmp_path):
    for benchmark, means in (("sums", [0.0, 1.0]), ("words", [1.0, 1.0])):
        finished(tmp_path, "base", None, benchmark, benchmark, [0.0, 0.0])
        finished(tmp_path, "tuned", None, benchmark, benchmark, means)
    together = summary_data(tmp_path, find_evaluations(tmp_path)[0])["comparisons"][-1]
    assert together["benchmark"] is None
    assert together["mean"]["problems"] == 4
    assert together["mean"]["difference"]["value"] == pytest.approx(0.75)


def test_a_damaged_evaluation_is_left_out_of_the_others(tmp_path):
    for label in ("a", "b", "c"):
        finished(tmp_path, label, None, "sums", "s", [0.0, 1.0])
    (tmp_path / "b" / "sums" / "problems.csv").write_text("nothing of use")
    found, left_out = find_evaluations(tmp_path)
    assert list(found) == ["a", "c"]
    assert len(left_out) == 1
    assert str(tmp_path / "b" / "sums" / "problems.csv") in left_out[0]
    assert summary_data(tmp_path, found, left_out)["left_out"] == left_out


def test_models_and_benchmarks_are_named_by_their_folders(tmp_path):
    finished(tmp_path, "base", None, "sums", "s", [0.0, 1.0])
    (tmp_path / "base").rename(tmp_path / "renamed")
    (tmp_path / "renamed" / "sums").rename(tmp_path / "renamed" / "additions")
    (one,) = summary_data(tmp_path, find_evaluations(tmp_path)[0])["evaluations"]
    assert (one["model"], one["benchmark"], one["folder"]) == ("renamed", "additions", "renamed/additions")


def test_each_of_many_equal_models_keeps_a_name(tmp_path):
    folders = []
    for output in ("a/x", "b/x", "c/x"):
        finished(tmp_path / output, "base", None, "sums", "s", [0.0])
        folders.append(read_finished(tmp_path / output / "base" / "sums"))
    assert list(arrange(folders)) == ["base", "c/x/base", "x/base"]
