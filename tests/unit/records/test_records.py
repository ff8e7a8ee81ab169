import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from verl_vip.errors import InvalidInputError
from verl_vip.records.records import RECORDS_FILE, RecordWriter, read_run, records_path


@pytest.fixture
def fill(make_header, make_step, make_validation):
    """Write a run of a few steps, each with a validation after it."""

    def write(folder, steps=3):
        writer = RecordWriter(folder)
        writer.append(make_header())
        writer.append(make_validation(0))
        for step in range(1, steps + 1):
            writer.append(make_step(step))
            writer.append(make_validation(step))
        return writer

    return write


def test_records_come_back_as_written(tmp_path, fill, make_header, make_step, make_validation):
    fill(tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.headers == (make_header(),)
    assert run.steps == tuple(make_step(step) for step in (1, 2, 3))
    assert run.validations == tuple(make_validation(step) for step in range(4))
    assert run.rollouts_total == 48
    assert run.path == tmp_path / "run" / RECORDS_FILE


def test_records_of_the_first_layout_are_read_and_of_a_later_one_refused(tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_step(1, tokens=[8, 24, 24, 8]))
    assert read_run(tmp_path).steps[0].tokens == [8, 24, 24, 8]
    header, step = (json.loads(line) for line in writer.path.read_text().splitlines())
    del header["schema"], step["tokens"], step["varied"]
    writer.path.write_text(json.dumps(header) + "\n" + json.dumps(step) + "\n")
    run = read_run(tmp_path)
    assert run.headers[0].schema == 1
    assert run.steps[0].tokens is run.steps[0].varied is None
    writer.path.write_text(json.dumps({**header, "schema": 99}) + "\n")
    with pytest.raises(InvalidInputError, match="line 1: the records have layout 99, and this verl-vip knows layouts"):
        read_run(tmp_path)


def test_each_line_is_a_json_object_with_its_kind(tmp_path, fill):
    fill(tmp_path, steps=1)
    lines = records_path(tmp_path).read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["run", "validation", "step", "validation"]


def test_folder_and_file_name_the_same_records(tmp_path, make_header):
    RecordWriter(tmp_path / RECORDS_FILE).append(make_header())
    assert read_run(tmp_path) == read_run(str(tmp_path / RECORDS_FILE))


def test_prompt_rows_are_aligned(tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    assert read_run(tmp_path).prompts.step.shape == (0,)
    assert read_run(tmp_path).rollouts_total == 0
    writer.append(make_step(1))
    writer.append(make_step(2, ids=["e", "f", "g", "h"]))
    rows = read_run(tmp_path).prompts
    assert rows.step.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert rows.ids.tolist() == list("abcdefgh")
    assert rows.labels.tolist() == ["gcd", "gcd", "chain_sum", "chain_sum"] * 2
    np.testing.assert_array_equal(rows.requested, [2, 6, 6, 2] * 2)
    np.testing.assert_array_equal(rows.observed, rows.requested)
    np.testing.assert_array_equal(rows.predicted, [0.05, 0.4, 0.5, 0.95] * 2)
    np.testing.assert_array_equal(rows.predicted_variance, [0.01, 0.02, 0.02, 0.0] * 2)
    np.testing.assert_array_equal(rows.successes, [0.0, 3.0, 2.0, 2.0] * 2)


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_torn_last_line_is_ignored_then_cut_off(tmp_path, kept, fill, make_step):
    writer = fill(tmp_path, steps=1)
    whole = writer.path.read_bytes()
    writer.append(make_step(2))
    line = writer.path.read_bytes()[len(whole) :]
    writer.path.write_bytes(whole + line[:kept])
    assert [record.step for record in read_run(tmp_path).steps] == [1]

    RecordWriter(tmp_path).append(make_step(2))
    assert writer.path.read_bytes() == whole + line


def test_file_torn_in_its_first_line_starts_over(tmp_path, make_header):
    writer = RecordWriter(tmp_path)
    writer.path.write_bytes(b'{"kind": "ru')
    with pytest.raises(InvalidInputError, match="no complete record"):
        read_run(tmp_path)
    writer.append(make_header())
    assert read_run(tmp_path).headers == (make_header(),)


def test_killed_writer_leaves_a_readable_file(tmp_path, make_header, make_step):
    program = (
        "import pickle, sys\n"
        "from dataclasses import replace\n"
        "from verl_vip.records.records import RecordWriter\n"
        "header, step = pickle.load(sys.stdin.buffer)\n"
        "writer = RecordWriter(sys.argv[1])\n"
        "writer.append(header)\n"
        "for number in range(1, 10**6): writer.append(replace(step, step=number))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE)
    process.stdin.write(pickle.dumps((make_header(), make_step())))
    process.stdin.close()
    try:
        while not (records_path(tmp_path).exists() and records_path(tmp_path).read_bytes().count(b"\n") > 20):
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait(timeout=30)
    steps = [record.step for record in read_run(tmp_path).steps]
    assert len(steps) >= 19
    assert steps == list(range(1, len(steps) + 1))


def test_rewind_drops_what_the_resumed_run_will_redo(tmp_path, fill, make_header):
    writer = fill(tmp_path)
    writer.append(make_header(resumed_from=2))
    with open(writer.path, "ab") as file:
        file.write(b'{"kind": "st')
    writer.rewind(1)
    run = read_run(tmp_path)
    assert len(run.headers) == 2
    assert [record.step for record in run.steps] == [1]
    assert [record.step for record in run.validations] == [0, 1]

    before, file = writer.path.read_bytes(), writer.path.stat().st_ino
    assert writer.rewind(1) is None
    assert writer.path.read_bytes() == before
    assert writer.path.stat().st_ino == file


def test_what_a_rewind_takes_out_is_kept_beside(tmp_path, fill, make_header, make_step):
    writer = fill(tmp_path)
    writer.append(make_header(resumed_from=2))
    everything = read_run(tmp_path)
    beside = writer.rewind(1)
    assert sorted(os.listdir(tmp_path)) == ["vip_records.1.jsonl", RECORDS_FILE]
    assert beside == tmp_path / "vip_records.1.jsonl"
    kept, out = read_run(tmp_path), read_run(beside)
    assert kept.steps + out.steps == everything.steps
    assert kept.validations + out.validations == everything.validations
    assert kept.headers == out.headers == everything.headers
    writer.append(make_step(2))
    assert writer.rewind(1) == tmp_path / "vip_records.2.jsonl"
    assert read_run(beside) == out


def test_a_run_that_is_not_continued_is_set_aside_as_it_is(tmp_path, fill, make_header):
    writer = RecordWriter(tmp_path)
    assert writer.set_aside() is None
    writer.append(make_header())
    assert writer.set_aside() is None  # a start that came to nothing
    for number in (1, 2):
        fill(tmp_path)
        with open(writer.path, "ab") as file:
            file.write(b'{"kind": "st')
        before = writer.path.read_bytes()
        assert writer.set_aside() == tmp_path / f"vip_records.{number}.jsonl"
        assert (tmp_path / f"vip_records.{number}.jsonl").read_bytes() == before
        assert not writer.path.exists()
    writer.path.write_bytes(b"not records\n")
    assert writer.set_aside() == tmp_path / "vip_records.3.jsonl"


def test_writers_at_once_lose_no_line(tmp_path, make_header, make_step):
    program = (
        "import pickle, sys\n"
        "from dataclasses import replace\n"
        "from verl_vip.records.records import RecordWriter\n"
        "step = pickle.load(sys.stdin.buffer)\n"
        "sys.stdin.close()\n"
        "for number in range(200): RecordWriter(sys.argv[1]).append(replace(step, step=int(sys.argv[2]) + number))\n"
    )
    # Long lines take several writes each.
    step = make_step(1, ids=[f"{row:04000}" for row in range(4)])
    RecordWriter(tmp_path).append(make_header())
    writers = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path, str(1000 * writer)], stdin=subprocess.PIPE)
        for writer in range(6)
    ]
    for writer in writers:
        writer.stdin.write(pickle.dumps(step))
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0] * 6
    lines = records_path(tmp_path).read_bytes().splitlines()[1:]
    found = sorted(json.loads(line)["step"] for line in lines)
    assert found == sorted(1000 * writer + number for writer in range(6) for number in range(200))


def test_rewind_without_a_file_does_nothing(tmp_path):
    RecordWriter(tmp_path / "new").rewind(3)
    assert not (tmp_path / "new").exists()


def test_failed_rewind_leaves_the_old_file(tmp_path, monkeypatch, fill):
    writer = fill(tmp_path)
    before = writer.path.read_bytes()

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        writer.rewind(1)
    assert writer.path.read_bytes() == before
    assert os.listdir(tmp_path) == [RECORDS_FILE]


def test_writer_survives_pickling(tmp_path, make_header):
    writer = pickle.loads(pickle.dumps(RecordWriter(tmp_path)))
    writer.append(make_header())
    assert read_run(tmp_path).headers == (make_header(),)


def test_settings_beyond_json_are_kept_as_text(tmp_path, make_header):
    RecordWriter(tmp_path).append(make_header(settings={"path": tmp_path, "many": (1, 2)}))
    assert read_run(tmp_path).headers[0].settings == {"path": str(tmp_path), "many": [1, 2]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("step,accuracy", "line 2: not a JSON object"),
        ("[1, 2]", "line 2: not a record"),
        ('{"kind": "picture"}', "line 2: not a record"),
        ('{"kind": "run", "extra": 1}', "line 2: .* missing or unknown fields .*'budget'.*'extra'"),
        ("", "line 2: not a JSON object"),
    ],
)
def test_foreign_lines_are_named(tmp_path, line, message, make_header):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    with open(writer.path, "a") as file:
        file.write(line + "\n")
    with pytest.raises(InvalidInputError, match=f"{RECORDS_FILE}, {message}"):
        read_run(tmp_path)


def test_file_must_start_with_a_header(tmp_path, make_step):
    RecordWriter(tmp_path).append(make_step(1))
    with pytest.raises(InvalidInputError, match="line 1: a record file starts"):
        read_run(tmp_path)


def test_steps_must_ascend(tmp_path, fill, make_header, make_step):
    writer = fill(tmp_path, steps=2)
    writer.append(make_header(resumed_from=1))
    writer.append(make_step(2))
    with pytest.raises(InvalidInputError, match="line 8: step 2 follows step 2; a resumed run must rewind"):
        read_run(tmp_path)


def test_batches_of_one_validation_pass_are_pooled(tmp_path, make_header, make_validation):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_validation(0, correct={"gcd": 3.0}, count={"gcd": 4}))
    writer.append(make_validation(0, correct={"gcd": 1.0, "lcm": 0.5}, count={"gcd": 2, "lcm": 1}))
    (pooled,) = read_run(tmp_path).validations
    assert pooled.correct == {"gcd": 4.0, "lcm": 0.5}
    assert pooled.count == {"gcd": 6, "lcm": 1}


def test_validation_repeated_by_a_resume_replaces_the_first(tmp_path, make_header, make_validation):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_validation(5, correct={"gcd": 3.0}, count={"gcd": 4}))
    writer.append(make_header(resumed_from=5))
    again = make_validation(5, correct={"gcd": 2.0}, count={"gcd": 4})
    writer.append(again)
    assert read_run(tmp_path).validations == (again,)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match=r"nowhere.* does not exist"):
        read_run(tmp_path / "nowhere")


def test_values_that_json_lacks_are_refused(tmp_path, make_header):
    with pytest.raises(InvalidInputError, match="cannot be written as JSON"):
        RecordWriter(tmp_path).append(make_header(settings={"value": float("nan")}))


def test_import_is_light():
    program = (
        "import sys, verl_vip.records.records, verl_vip.records.progress\n"
        "print([name for name in ('torch', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
