"""Every complete checkpoint is evaluated, once."""

import json
import runpy
import shutil
import threading
from pathlib import Path

import pytest
from prefect.artifacts import Artifact

from verl_vip.errors import ConfigError, JobError, VerlVipError
from verl_vip.execution import LocalExecutor
from verl_vip.flows.evaluate import evaluate
from verl_vip.flows.evaluation_run import EvaluationRun
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.pipeline import pipeline
from verl_vip.flows.training_run import TrainingRun

write_model = runpy.run_path(str(Path(__file__).with_name("pretend_trainer.py")))["write_model"]

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
    actor = folder / f"global_step_{step}" / "actor"
    actor.mkdir(parents=True)
    write_model(actor, b"weights")
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
    assert '"mean@4": "0.500 [0.400, 0.600]"' in table
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
    with pytest.raises(JobError, match=r"1 checkpoint\(s\) could not be evaluated, of steps 2"):
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
        shutil.rmtree(folder / "global_step_1" / "actor", ignore_errors=True)
        return found

    monkeypatch.setattr(EvaluationRun, "pending", pending_then_removed)
    evaluate(**settings("removed", options=["--fail", "1"]))
    assert evaluated(folder) == [1, 2]


def test_a_run_whose_checkpoints_rotate_is_evaluated_as_far_as_they_are_there(settings, parameters, tmp_path, caplog):
    folder = tmp_path / "rotated"
    pipeline(**{**parameters("steps=4", "save_every=1", "keep=2"), **settings("rotated")})
    assert evaluated(folder) == [3, 4]
    assert "rotated: skipped step 1, 2: verl has removed the model" in caplog.text
    # What has been evaluated may go too.
    shutil.rmtree(folder / "global_step_3" / "actor")
    caplog.clear()
    evaluate(**settings("rotated"))
    assert evaluated(folder) == [3, 4]
    assert "skipped step 1, 2:" in caplog.text


def test_models_that_go_after_their_evaluation_leave_nothing_to_do(settings, tmp_path):
    folder = tmp_path / "tidied"
    add_checkpoint(folder, 2)
    evaluate(**settings("tidied"))
    shutil.rmtree(folder / "global_step_2" / "actor")
    evaluate(**settings("tidied"))
    assert evaluated(folder) == [2]


def test_a_run_without_any_model_says_why(settings, tmp_path):
    folder = tmp_path / "emptied"
    add_checkpoint(folder, 2)
    shutil.rmtree(folder / "global_step_2" / "actor")
    with pytest.raises(JobError, match=r"no complete checkpoint to evaluate: step 2: verl has removed the model"):
        evaluate(**settings("emptied"))


def test_a_run_that_is_not_there_or_was_never_saved(settings, tmp_path):
    with pytest.raises(ConfigError, match="there is no run nowhere in"):
        evaluate(**settings("nowhere"))
    (tmp_path / "unsaved").mkdir()
    with pytest.raises(JobError, match=r"unsaved has no complete checkpoint to evaluate: trainer\.save_freq"):
        evaluate(**settings("unsaved"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "runs"}, "must be an absolute path"),
        ({"benchmarks": []}, "at least one"),
        ({"n": 0}, "n must be a whole number from 1 to .*; got 0"),
        ({"benchmarks": ["offline", "offline"]}, "two benchmarks have the same name"),
        ({"benchmarks": [f"../x={__file__}"]}, "cannot name a benchmark"),
        ({"benchmarks": ["model=/a.jsonl"]}, "cannot name a benchmark"),
        ({"name": "a" * 101}, "cannot name a run"),
    ],
)
def test_refusals(settings, changes, message):
    with pytest.raises(VerlVipError, match=message):
        from_parameters(EvaluationRun, settings("none") | changes)


def test_the_longest_name_of_a_run_has_jobs_for_all_its_checkpoints(settings):
    run = from_parameters(EvaluationRun, settings("a" * 100))
    assert run.job(10**9).name.endswith("-evaluate-1000000000")
