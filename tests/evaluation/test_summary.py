import pytest

from verl_vip.durable_files import replace_json
from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.folder import METRIC_KEYS, ResultFolder
from verl_vip.evaluation.summary import find_evaluations, summary_data


def finished(output, label, step, benchmark, sha256, means):
    folder = ResultFolder(output / label / benchmark)
    folder.path.mkdir(parents=True)
    replace_json(folder.path / "manifest.json", {"benchmark": {"sha256": sha256}})
    rows = [
        {"problem": f"{benchmark}{k}", "n": 1, "mean": mean, "majority_correct": mean, "pass_at_1": mean}
        for k, mean in enumerate(means)
    ]
    folder.finish([], rows, {**dict.fromkeys(METRIC_KEYS), "step": step, "model": label})


def test_models_come_by_run_and_step_after_those_named_first(tmp_path):
    for label, step in (("vip-step12", 12), ("vip-step6", 6), ("uniform-step6", 6), ("base", None)):
        finished(tmp_path, label, step, "sums", "s", [0.0])
    assert list(find_evaluations(tmp_path)) == ["base", "uniform-step6", "vip-step6", "vip-step12"]
    assert next(iter(find_evaluations(tmp_path, ["vip-step6"]))) == "vip-step6"


def test_only_the_same_problems_are_compared(tmp_path):
    finished(tmp_path, "base", None, "sums", "s", [0.0, 1.0])
    finished(tmp_path, "base", None, "words", "w", [0.0])
    finished(tmp_path, "tuned", None, "sums", "s", [1.0, 1.0])
    finished(tmp_path, "tuned", None, "words", "other words", [1.0])
    finished(tmp_path, "tuned", None, "more", "m", [1.0])
    (comparison,) = summary_data(tmp_path, find_evaluations(tmp_path, ["base"]))["comparisons"]
    assert comparison["benchmark"] == "sums"
    assert comparison["mean"]["difference"]["value"] == pytest.approx(0.5)


def test_an_unfinished_evaluation_is_not_summed_up(tmp_path):
    (tmp_path / "base" / "sums").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="holds no finished evaluation"):
        find_evaluations(tmp_path)
