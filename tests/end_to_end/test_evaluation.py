"""A model is evaluated with real vLLM, after a refusal and after a kill."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(2400)]

#: One evaluation takes a minute on an idle machine.
TIMEOUT_S = 900


def wait_for(condition, timeout=TIMEOUT_S):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(group):
    """Whether any process of the group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def read_samples(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def run(words):
    return subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def environment():
    return {**os.environ, "HF_HUB_OFFLINE": "1"}


def test_a_refused_and_a_killed_evaluation_go_on_and_keep_what_they_had(launcher, evaluate, tmp_path):
    spell = tmp_path / "spell.jsonl"
    spell.write_text('\ufeff{"problem": "Spell\u2028this", "answer": "x"}\n', encoding="utf-8")
    output = tmp_path / "out"
    words = evaluate(f"base={launcher.folder / 'model'}", "--n", "8", "--output", output)
    words += ["--benchmark", str(spell), "--instruction", ""]
    folder = output / "base" / "demo"
    kept = folder / "samples.jsonl"

    # Options that vLLM refuses do not stand in the way of the right ones.
    refused = run([*words, "--engine", "dtype=float32", "enforce_eagr=true"])
    assert refused.returncode == 2, refused.stderr[-3000:]
    assert "vLLM does not know an option of --engine" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr

    with (tmp_path / "killed.log").open("w+") as log:
        process = subprocess.Popen(words, env=environment(), stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(lambda: process.poll() is not None or (kept.is_file() and b"\n" in kept.read_bytes()))
            process.send_signal(signal.SIGKILL)
            assert process.wait(timeout=30) == -signal.SIGKILL, Path(log.name).read_text()[-3000:]
            # No engine outlives it, to keep the device's memory.
            wait_for(lambda: not is_alive(process.pid))
        finally:
            if is_alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
    before = kept.read_bytes()
    before = before[: before.rindex(b"\n") + 1]
    held = before.count(b"\n")
    assert 0 < held < 8 * 252
    assert not (folder / "metrics.json").exists()

    words[words.index("--n") + 1] = "9"  # a larger n adds to what is there
    done = run(words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"holds {held} samples; the missing {9 * 252 - held} are sampled" in done.stderr
    assert kept.read_bytes().startswith(before)
    samples = read_samples(folder)
    assert len(samples) == len({(line["problem"], line["sample"]) for line in samples}) == 9 * 252
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n"] == 9
    assert metrics["pass_at_k"]["8"]["value"] > metrics["mean"]["value"]
    assert metrics["mean"]["value"] == pytest.approx(sum(len(line["text"]) % 2 == 0 for line in samples) / len(samples))
    assert len(read_samples(output / "base" / "spell")) == 9
