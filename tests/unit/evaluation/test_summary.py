import pytest

from verl_vip.durable_files import replace_json
from verl_vip.errors import InvalidInputError, StateError
from verl_vip.evaluation.finished import read_finished
from verl_vip.evaluation.folder import ResultFolder
from verl_vip.evaluation.metrics import ProblemRow
from verl_vip.evaluation.result_files import manifest_json
from verl_vip.evaluation.results import EvaluatedBenchmark, EvaluatedModel, EvaluationManifest
from verl_vip.evaluation.summary import arrange, find_evaluations, make_summary, read_summary


@pytest.fixture
def finished(make_metrics):
    """Writes an evaluation with one sample of each problem."""

    def write(output, label, step, benchmark, sha256, means, problems=None):
        folder = ResultFolder(output / label / benchmark)
        folder.path.mkdir(parents=True)
        manifest = EvaluationManifest(
            EvaluatedModel(label, "somewhere", None, step, "m"),
            EvaluatedBenchmark(benchmark, {}, len(means), sha256),
            {},
            {},
        )
        replace_json(folder.path / "manifest.json", manifest_json(manifest))
        rows = [
            ProblemRow(str(problem), benchmark, 1, int(mean), {1: mean}, "", mean, 0, 0, 1.0, 0)
            for problem, mean in zip(problems or range(len(means)), means, strict=True)
        ]
        mean = sum(means) / len(means)
        named = {"benchmark": benchmark, "benchmark_sha256": None, "problems": len(means)}
        folder.finish([], rows, make_metrics(label, step, mean, **named))

    return write


def test_models_come_by_run_and_step_after_those_named_first(tmp_path, finished):
    for label, step in (("vip-step12", 12), ("vip-step6", 6), ("uniform-step6", 6), ("base", None)):
        finished(tmp_path, label, step, "sums", "s", [0.0])
    assert list(find_evaluations(tmp_path)[0]) == ["base", "uniform-step6", "vip-step6", "vip-step12"]
    assert next(iter(find_evaluations(tmp_path, ["vip-step6"])[0])) == "vip-step6"


def test_only_the_same_problems_are_compared(tmp_path, finished):
    finished(tmp_path, "base", None, "sums", "s", [0.0, 1.0])
    finished(tmp_path, "base", None, "words", "w", [0.0])
    finished(tmp_path, "tuned", None, "sums", "s", [1.0, 1.0])
    finished(tmp_path, "tuned", None, "words", "other words", [1.0])
    finished(tmp_path, "tuned", None, "more", "m", [1.0])
    (comparison,) = make_summary(tmp_path, find_evaluations(tmp_path, ["base"])[0]).comparisons
    assert comparison.benchmark == "sums"
    assert comparison.scores.mean.difference.value == pytest.approx(0.5)


def test_an_unfinished_evaluation_is_not_summed_up(tmp_path):
    (tmp_path / "base" / "sums").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="holds no finished evaluation"):
        find_evaluations(tmp_path)


def test_tables_of_other_problems_are_not_compared_whatever_their_hash_says(tmp_path, finished):
    finished(tmp_path, "base", None, "sums", "s", [0.0, 1.0])
    finished(tmp_path, "tuned", None, "sums", "s", [1.0, 1.0], problems=["0", "other"])
    assert make_summary(tmp_path, find_evaluations(tmp_path)[0]).comparisons == ()


def test_problems_of_one_name_in_two_benchmarks_are_two(tmp_path, finished):
    for benchmark, means in (("sums", [0.0, 1.0]), ("words", [1.0, 1.0])):
        finished(tmp_path, "base", None, benchmark, benchmark, [0.0, 0.0])
        finished(tmp_path, "tuned", None, benchmark, benchmark, means)
    together = make_summary(tmp_path, find_evaluations(tmp_path)[0]).comparisons[-1]
    assert together.benchmark is None
    assert together.scores.mean.problems == 4
    assert together.scores.mean.difference.value == pytest.approx(0.75)


def test_a_damaged_evaluation_is_left_out_of_the_others(tmp_path, finished):
    for label in ("a", "b", "c"):
        finished(tmp_path, label, None, "sums", "s", [0.0, 1.0])
    (tmp_path / "b" / "sums" / "problems.csv").write_text("nothing of use")
    found, left_out = find_evaluations(tmp_path)
    assert list(found) == ["a", "c"]
    assert len(left_out) == 1
    assert str(tmp_path / "b" / "sums" / "problems.csv") in left_out[0]
    assert make_summary(tmp_path, found, left_out).left_out == tuple(left_out)


def test_models_and_benchmarks_are_named_by_their_folders(tmp_path, finished):
    finished(tmp_path, "base", None, "sums", "s", [0.0, 1.0])
    (tmp_path / "base").rename(tmp_path / "renamed")
    (tmp_path / "renamed" / "sums").rename(tmp_path / "renamed" / "additions")
    (one,) = make_summary(tmp_path, find_evaluations(tmp_path)[0]).evaluations
    assert (one.metrics.model, one.metrics.benchmark, one.folder) == ("renamed", "additions", "renamed/additions")


def test_each_of_many_equal_models_keeps_a_name(tmp_path, finished):
    folders = []
    for output in ("a/x", "b/x", "c/x"):
        finished(tmp_path / output, "base", None, "sums", "s", [0.0])
        folders.append(read_finished(tmp_path / output / "base" / "sums"))
    assert list(arrange(folders)) == ["base", "c/x/base", "x/base"]


def test_a_summary_that_is_not_there_or_damaged(tmp_path):
    assert read_summary(tmp_path) is None
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(StateError, match=r"metrics\.json cannot be used: format is missing"):
        read_summary(tmp_path)
