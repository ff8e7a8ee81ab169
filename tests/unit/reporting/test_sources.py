import json
import os

import pytest

from verl_vip.errors import InvalidInputError
from verl_vip.records.records import RECORDS_FILE, read_run
from verl_vip.reporting.sources import find_sources


def test_a_sweep_is_a_folder_of_runs(write_run, tmp_path):
    for trial in ("vip-4", "vip-8", "uniform-4"):
        write_run(tmp_path / "sweep" / "trials" / trial / "run", steps=1)
    write_run(tmp_path / "sweep" / ".hidden", steps=1)
    write_run(tmp_path / "sweep" / "trials" / "vip-4" / "run" / "global_step_1" / "old", steps=1)
    found = find_sources([tmp_path / "sweep"])
    assert list(found.runs) == ["uniform-4/run", "vip-4/run", "vip-8/run"]
    assert found.left_out == []


def test_runs_keep_the_order_given_and_are_read_once(write_run, tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, steps=1)
    assert list(find_sources([tmp_path / "b", tmp_path]).runs) == ["b", "a"]


def test_evaluations_are_found_beside_runs(write_run, write_evaluations, tmp_path):
    run = write_run(tmp_path / "run", steps=1)
    write_evaluations(tmp_path / "evaluations", {"base": 1, "run-step20": 3, "run-step5": 2})
    found = find_sources([run, tmp_path / "evaluations"])
    assert list(found.runs) == ["run"]
    assert list(found.evaluations) == ["base", "run-step5", "run-step20"]
    assert found.evaluations["run-step20"]["sums"].metrics.mean.value == 0.75


def test_one_evaluation_may_be_given_by_itself(write_evaluations, tmp_path):
    output = write_evaluations(tmp_path / "evaluations", {"base": 1, "run-step5": 2})
    assert list(find_sources([output / "base" / "sums"]).evaluations) == ["base"]


def test_equal_models_of_two_outputs_are_told_apart(write_evaluations, tmp_path):
    outputs = [write_evaluations(tmp_path / name, {"base": right}) for name, right in (("first", 1), ("second", 2))]
    found = find_sources(outputs)
    assert list(found.evaluations) == ["base", "second/base"]
    assert found.evaluations["second/base"]["sums"].metrics.mean.value == 0.5


def test_what_cannot_be_read_is_said_in_a_sentence(write_run, write_evaluations, tmp_path):
    run = write_run(tmp_path / "good", steps=1)
    damaged = write_run(tmp_path / "damaged", steps=1) / RECORDS_FILE
    damaged.write_text("not a record\n")
    (tmp_path / "empty").mkdir()
    folders = write_evaluations(tmp_path / "evaluations", {"a": 1, "b": 1})
    (folders / "a" / "sums" / "metrics.json").write_text("{")
    other = folders / "b" / "sums" / "metrics.json"
    other.write_text(json.dumps({**json.loads(other.read_text()), "format": 99}))
    found = find_sources([run, tmp_path / "damaged", tmp_path / "empty", folders, tmp_path / "nowhere"])
    assert found.runs["good"].steps == read_run(run).steps
    assert not found.evaluations
    for sentence, words in zip(
        found.left_out,
        [
            "line 1: not a JSON object",
            "empty holds neither",
            "a/sums/metrics.json cannot be used: it is not valid JSON",
            "format is 99",
            "not exist",
        ],
        strict=True,
    ):
        assert words in sentence


def test_a_record_file_of_any_name_is_a_run(write_run, tmp_path):
    records = write_run(tmp_path / "run", steps=1) / RECORDS_FILE
    copy = records.rename(tmp_path / "copied.jsonl")
    assert list(find_sources([copy]).runs) == ["copied.jsonl"]


def test_nothing_to_report_on_is_an_error(run_folder, tmp_path):
    with pytest.raises(InvalidInputError, match="no run to report on"):
        find_sources([])
    with pytest.raises(InvalidInputError, match="given twice"):
        find_sources([run_folder, run_folder / RECORDS_FILE])
    with pytest.raises(InvalidInputError, match="does not exist"):
        find_sources([tmp_path / "nowhere"])


def test_a_folder_of_links_to_runs_is_reported_under_the_links_names(write_run, tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / f"long-name-of-{name}", steps=1)
    (tmp_path / "chosen" / "more").mkdir(parents=True)
    (tmp_path / "chosen" / "first").symlink_to("../runs/long-name-of-a")
    (tmp_path / "chosen" / "more" / "second").symlink_to(tmp_path / "runs" / "long-name-of-b")
    found = find_sources([tmp_path / "chosen"])
    assert list(found.runs) == ["first", "second"]
    assert found.left_out == []
    assert list(find_sources([tmp_path / "chosen" / "first"]).runs) == ["first"]


def test_links_in_circles_and_back_up_are_no_trap(write_run, tmp_path):
    write_run(tmp_path / "elsewhere", steps=1)
    write_run(tmp_path / "sweep" / "a", steps=1)
    (tmp_path / "sweep" / "b").mkdir()
    for link, target in {
        "self": "self",
        "here": ".",
        "up": "..",
        "a/back": "../b",
        "b/forth": "../a",
        "b/top": "..",
        "b/root": "/",
    }.items():
        (tmp_path / "sweep" / link).symlink_to(target)
    found = find_sources([tmp_path / "sweep"])
    assert list(found.runs) == ["a"]
    assert found.left_out == [f"{tmp_path / 'sweep' / 'self'} is a link to self, which does not exist."]


def test_a_run_that_several_links_lead_to_is_read_once(write_run, tmp_path):
    run = write_run(tmp_path / "runs" / "a", steps=1)
    for link in ("x", "y"):
        (tmp_path / "runs" / link).symlink_to(run)
    assert list(find_sources([tmp_path / "runs"]).runs) == ["a"]
    with pytest.raises(InvalidInputError, match="given twice"):
        find_sources([run, tmp_path / "runs" / "x"])


def test_a_dangling_link_among_others_is_named(write_run, tmp_path):
    run = write_run(tmp_path / "run", steps=1)
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "good").symlink_to(run)
    (tmp_path / "chosen" / "gone").symlink_to(tmp_path / "no such run")
    found = find_sources([tmp_path / "chosen"])
    assert list(found.runs) == ["good"]
    assert found.left_out == [
        f"{tmp_path / 'chosen' / 'gone'} is a link to {tmp_path / 'no such run'}, which does not exist."
    ]


def test_what_stands_in_place_of_a_record_file_is_named(write_run, tmp_path):
    write_run(tmp_path / "runs" / "good", steps=1)
    for name in ("folder", "pipe", "link", "endless"):
        (tmp_path / "runs" / name).mkdir()
    (tmp_path / "runs" / "folder" / RECORDS_FILE).mkdir()
    os.mkfifo(tmp_path / "runs" / "pipe" / RECORDS_FILE)
    (tmp_path / "runs" / "link" / RECORDS_FILE).symlink_to("nowhere")
    (tmp_path / "runs" / "endless" / RECORDS_FILE).symlink_to("/dev/zero")
    found = find_sources([tmp_path / "runs"])
    assert list(found.runs) == ["good"]
    assert [sentence.removeprefix(f"{tmp_path / 'runs'}/") for sentence in found.left_out] == [
        f"endless/{RECORDS_FILE} is not a regular file; remove it.",
        f"folder/{RECORDS_FILE} is a folder and should be a file; remove it.",
        f"link/{RECORDS_FILE} is a link to nowhere, which does not exist.",
        f"pipe/{RECORDS_FILE} is not a regular file; remove it.",
    ]
