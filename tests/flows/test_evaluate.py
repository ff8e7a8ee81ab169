"""Every complete checkpoint is evaluated, once."""

import json
import shutil
import threading

import pytest
from prefect.artifacts import Artifact

from verl_vip.errors import ConfigError, JobError
from verl_vip.execution import LocalExecutor
from verl_vip.flows.evaluate import evaluate
from verl_vip.flows.evaluation_run import EvaluationRun
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.pipeline import pipeline
from verl_vip.flows.training_run import TrainingRun

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def settings(tmp_path, pretend_python):
    def make(name: str, **others) -> dict:
        return {
            "name": name,
            "root": str(tmp_path),
            "benchmarks": ["offline"],
            "n": 4,
            "python": pretend_python,
            **others,
        }

    return make


def evaluated(folder) -> list[int]:
    return [int(line) for line in (folder / "evaluations.txt").read_text().split()]


def add_checkpoint(folder, step: int, complete: bool = True) -> None:
    (folder / f"global_step_{step}" / "actor").mkdir(parents=True)
    if complete:
        (folder / "latest_checkpointed_iteration.txt").write_text(str(step))


def test_complete_checkpoints_once_and_new_ones_later(settings, tmp_path):
    folder = tmp_path / "late"
    add_checkpoint(folder, 2)
    add_checkpoint(folder, 4)
    add_checkpoint(folder, 6, complete=False)
    evaluate(**settings("late"))
    assert evaluated(folder) == [2, 4]
    evaluate(**settings("late"))
    assert evaluated(folder) == [2, 4]
    (folder / "latest_checkpointed_iteration.txt").write_text("6")
    evaluate(**settings("late"))
    assert evaluated(folder) == [2, 4, 6]
    table = Artifact.get("evaluation-late").data
    assert '"model": "late-step6"' in table
    assert '"mean@4": "0.500 (0.400 to 0.600)"' in table
    assert "(data:image/png;base64," in Artifact.get("evaluation-late-pass-at-k").data


@pytest.mark.parametrize(
    ("benchmark", "options"),
    [
        ("{file}", []),
        ("sums={file}", []),
        ("offline", ["--grader", "{file}:score"]),
        ("offline", ["--grader=pkg://{file}", "--grader={file}:score"]),
    ],
)
def test_another_content_of_a_named_file_is_another_evaluation(settings, tmp_path, benchmark, options):
    path = tmp_path / "file.jsonl"

    def fingerprint():
        words = [word.format(file=path) for word in options]
        return (
            EvaluationRun(**settings("run", benchmarks=[benchmark.format(file=path)], options=words)).job(2).fingerprint
        )

    found = []
    for content in ("a", "b", "a"):
        path.write_text(content)
        found.append(fingerprint())
    assert found[0] == found[2] != found[1]


def test_a_corrected_answer_is_evaluated_again(settings, tmp_path):
    folder = tmp_path / "corrected"
    add_checkpoint(folder, 2)
    path = tmp_path / "own.jsonl"
    for answer, times in ((1, 1), (1, 1), (2, 2)):
        path.write_text(json.dumps({"problem": "?", "answer": answer}) + "\n")
        evaluate(**settings("corrected", benchmarks=[str(path)]))
        assert evaluated(folder) == [2] * times


def test_one_failure_keeps_neither_the_others_from_their_turn_nor_the_training_from_its_report(
    settings, parameters, tmp_path
):
    folder = tmp_path / "partly"
    with pytest.raises(JobError, match=r"1 checkpoint\(s\) not evaluated, of steps 2"):
        pipeline(**{**parameters("steps=3", "save_every=1"), **settings("partly", options=["--fail", "2"])})
    assert evaluated(folder) == [1, 2, 3]
    assert "partly" in (folder / "report.html").read_text()


def test_checkpoints_are_evaluated_while_training_goes_on(settings, parameters, tmp_path, wait_for):
    LocalExecutor().start(from_parameters(TrainingRun, parameters("steps=4", "hold=3", name="live")).job())

    def go() -> None:
        wait_for((tmp_path / "live" / "evaluations.txt").exists)
        (tmp_path / "live" / "go").touch()

    threading.Thread(target=go, daemon=True).start()
    evaluate(**settings("live", follow=True, patience_s=0.5))
    assert evaluated(tmp_path / "live") == [2, 4]


def test_the_pipeline_does_all_of_it_once(settings, parameters, tmp_path):
    chosen = {**parameters("steps=2"), **settings("whole")}
    report = pipeline(**chosen)
    assert pipeline(**chosen) == report
    assert "whole" in (tmp_path / "whole" / "report.html").read_text()
    assert evaluated(tmp_path / "whole") == [2]
    assert (tmp_path / "whole" / "starts.txt").read_text().split() == ["0"]
    assert report in Artifact.get("report-whole").data


def test_a_checkpoint_that_verl_removed_is_passed_over(settings, tmp_path, monkeypatch):
    folder = tmp_path / "removed"
    add_checkpoint(folder, 1)
    add_checkpoint(folder, 2)
    pending = EvaluationRun.pending

    def pending_then_removed(self):
        found = pending(self)
        shutil.rmtree(folder / "global_step_1", ignore_errors=True)
        return found

    monkeypatch.setattr(EvaluationRun, "pending", pending_then_removed)
    evaluate(**settings("removed", options=["--fail", "1"]))
    assert evaluated(folder) == [1, 2]


def test_a_run_that_is_not_there_or_was_never_saved(settings, tmp_path):
    with pytest.raises(ConfigError, match="there is no run nowhere in"):
        evaluate(**settings("nowhere"))
    (tmp_path / "unsaved").mkdir()
    with pytest.raises(JobError, match=r"unsaved has no complete checkpoint to evaluate; trainer\.save_freq"):
        evaluate(**settings("unsaved"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "runs"}, "must be an absolute path"),
        ({"benchmarks": []}, "at least one"),
        ({"n": 0}, "at least 1; got 0"),
    ],
)
def test_refusals(settings, changes, message):
    with pytest.raises(ConfigError, match=message):
        from_parameters(EvaluationRun, settings("none", **changes))
