"""A report is written whatever has become of its inputs, and names each that it left out.

The damage is drawn with a seed: some of it to the bytes of a file, some to the values in it, some to what lies there in
its place.
"""

import dataclasses
import json
import math
import os
import random
import shutil

import pytest

from verl_vip.errors import VerlVipError
from verl_vip.evaluation.finished import read_finished
from verl_vip.evaluation.summary import arrange, make_summary
from verl_vip.records.records import RECORDS_FILE, read_run
from verl_vip.reporting.evaluation_page import evaluation_part
from verl_vip.reporting.pictures import run_pictures
from verl_vip.reporting.report import write_report
from verl_vip.reporting.run_page import run_page
from verl_vip.reporting.sources import find_sources

SEED = 20
EVALUATION_FILES = ("metrics.json", "manifest.json", "problems.csv", "grades.jsonl", "samples.jsonl")

DEEP = 0
for _ in range(400):
    DEEP = [DEEP]
VALUES = [
    *(None, True, False, 0, -1, 1, 3, 10**13, 10**30, -(10**400), 0.5, 1.5, 1e308, -1e308, 5e-324),
    *(math.nan, math.inf, "", "text", "1", "\ud800", "\x00", "x" * 100_000, [], {}, [[]], {"a": {"b": 1}}, DEEP),
]


def damage_value(rng, value):
    """Return a JSON value in which something, anywhere, is another thing, missing, doubled or too much."""
    if not (isinstance(value, dict | list) and value) or rng.random() < 0.15:
        return rng.choice(VALUES)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    kind = rng.random()
    if kind < 0.15:
        return {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else value[:key]
    if kind < 0.25:
        return {**value, "unheard of": 1} if isinstance(value, dict) else [*value, value[key]]
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[key] = damage_value(rng, value[key])
    return changed


def damage_text(rng, payload):
    """Return a file's content with other bytes."""
    at = rng.randrange(len(payload))
    lines = payload.splitlines(keepends=True)
    line = rng.randrange(len(lines))
    return rng.choice(
        [
            lambda: payload[:at],
            lambda: payload[at:],
            lambda: b"",
            lambda: payload[:at] + rng.randbytes(9) + payload[at:],
            lambda: payload[:at] + bytes([payload[at] ^ 1 << rng.randrange(8)]) + payload[at + 1 :],
            lambda: rng.randbytes(300),
            lambda: b"".join(lines[:line] + lines[line + 1 :]),
            lambda: b"".join([*lines, lines[line]]),
            lambda: b"".join(rng.sample(lines, len(lines))),
            lambda: payload.replace(b"\n", b"\r\n"),
            lambda: payload.decode().encode("utf-16"),
            lambda: payload.replace(b",", b";"),
            lambda: b"[" * 100_000,
            lambda: b'{"format": ' + b"9" * 5000 + b"}",
            lambda: rng.choice([b"[]", b"1", b"null", b'"text"', b"{}", b"NaN", b"<html></html>"]) + b"\n",
        ]
    )()


def damage_place(rng, path):
    """Put something that is no such file in its place."""
    path.unlink()
    kind = rng.randrange(7)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)  # whoever opens it waits for a writer that never comes
    elif kind == 2:
        path.symlink_to("nowhere")
    elif kind == 3:
        path.symlink_to(path.name)
    elif kind == 4:
        path.symlink_to("/dev/zero")
    elif kind == 5:
        path.symlink_to(".")
    return kind


def damage(rng, path):
    """Damage a file in some way."""
    kind = rng.random()
    if kind < 0.15:
        damage_place(rng, path)
    elif kind < 0.5 or path.suffix == ".csv":
        path.write_bytes(damage_text(rng, path.read_bytes()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(damage_value(rng, json.loads(path.read_text()))))
    else:
        lines = path.read_text().splitlines()
        at = rng.randrange(len(lines))
        lines[at] = json.dumps(damage_value(rng, json.loads(lines[at])))
        path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def damaged_runs(tmp_path, make_header, make_step, make_validation, write_run):
    """A good run and hundreds of damaged copies of a small one."""
    write_run(tmp_path / "good", steps=2)
    small = write_run(tmp_path / "small", steps=2, resume_at=1) / RECORDS_FILE
    folders = []
    for k in range(200):
        folder = tmp_path / "damaged" / f"run{k:03}"
        folder.mkdir(parents=True)
        shutil.copy(small, folder)
        damage(random.Random(f"{SEED}/{k}"), folder / RECORDS_FILE)
        folders.append(folder)
    shutil.rmtree(small.parent)
    return folders


@pytest.fixture
def damaged_evaluations(tmp_path, write_evaluations):
    """A good evaluation and hundreds of copies of one with disputes, in each of which one file is damaged."""
    output = write_evaluations(tmp_path / "evaluations", {"base": 1, "tuned": 3})
    cell = output / "tuned" / "sums"
    metrics = json.loads((cell / "metrics.json").read_text())
    metrics["second_opinion"] = {"correct": 0.5, "disagreements": 2}
    (cell / "metrics.json").write_text(json.dumps(metrics))
    grades = [json.loads(line) for line in (cell / "grades.jsonl").read_text().splitlines()]
    for k, grade in enumerate(grades):
        grade["second"] = not grade["correct"] if k < 2 else grade["correct"]
    (cell / "grades.jsonl").write_text("".join(json.dumps(grade) + "\n" for grade in grades))
    files = []
    for k in range(200):
        copy = output / f"model{k:03}" / "sums"
        shutil.copytree(cell, copy)
        path = copy / EVALUATION_FILES[k % len(EVALUATION_FILES)]
        damage(random.Random(f"{SEED}/{k}"), path)
        files.append(path)
    return output, files


def test_each_damaged_run_is_shown_or_named(damaged_runs, tmp_path):
    reasons = {}
    for folder in damaged_runs:
        try:
            run = read_run(folder)
        except VerlVipError as error:
            reasons[folder] = str(error)
        else:
            assert run_page(run, run_pictures(run))
    assert len(reasons) > len(damaged_runs) / 2
    assert all(str(folder) in why for folder, why in reasons.items())
    page = write_report([tmp_path / "good", tmp_path / "damaged"], tmp_path / "report.html").read_text()
    found = find_sources([tmp_path / "good", tmp_path / "damaged"])
    for folder in damaged_runs:
        if os.path.lexists(folder / RECORDS_FILE):
            assert (folder.name in found.runs) != any(f"{folder}/" in why for why in found.left_out)
            assert folder.name in page


def test_each_damaged_evaluation_is_shown_or_named(damaged_evaluations, tmp_path):
    output, files = damaged_evaluations
    reasons, drawn = {}, []
    for path in files:
        try:
            one = read_finished(path.parent)
        except VerlVipError as error:
            reasons[path] = str(error)
        else:
            # Much of the damage does not reach the page, which takes half a second to draw.
            why = one.undisclosed and one.undisclosed.replace(str(path.parent), "")
            if (shown := dataclasses.replace(one, path=output, undisclosed=why)) not in drawn:
                drawn.append(shown)
                evaluations = arrange([one])
                assert evaluation_part(evaluations, make_summary(output, evaluations))
            assert (len(one.disputes) == 2) or one.undisclosed or path.name not in ("grades.jsonl", "samples.jsonl")
    assert len(reasons) > len(files) / 4
    assert all(str(path.parent) in why for path, why in reasons.items())
    page = write_report([output], tmp_path / "report.html").read_text()
    found = find_sources([output])
    shown = {label for label, benchmarks in found.evaluations.items() if "sums" in benchmarks}
    assert {"base", "tuned"} <= shown
    for path in files:
        said = [why for why in found.left_out if f"{path.parent}/" in why]
        # An evaluation without its manifest or its metrics is not finished.
        if os.path.lexists(path) or path.name not in ("metrics.json", "manifest.json"):
            assert (path.parent.parent.name in shown) != bool(said)
            assert path.parent.parent.name in page
