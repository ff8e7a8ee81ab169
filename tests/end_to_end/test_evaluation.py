"""Models and verl's checkpoints are evaluated with real vLLM, on one box and with engines on Ray, and after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]

REWARD = Path(__file__).parent / "even_length_reward.py"

#: One evaluation takes a minute on an idle machine.
TIMEOUT_S = 500


def command(launcher, *words):
    return [
        *(sys.executable, "-m", "verl_vip.cli", "evaluate", *map(str, words)),
        *("--benchmark", f"demo={launcher.folder / 'data' / 'validation.parquet'}"),
        *("--grader", f"{REWARD}:compute_score"),
        *("--max-tokens", "16", "--engine", "dtype=float32", "max_model_len=80"),
    ]


ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1"}


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


@pytest.fixture
def untrained(tmp_path):
    """A model of two thousand weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from verl_vip.recipes.demo.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(["Spell", " this"])
    sizes = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **sizes, **heads)).save_pretrained(tmp_path / "untrained")
    tokenizer.save_pretrained(tmp_path / "untrained")
    return tmp_path / "untrained"


def test_options_that_vllm_refuses_do_not_stand_in_the_way_of_the_right_ones(untrained, tmp_path):
    problems = tmp_path / "spell.jsonl"
    problems.write_text('\ufeff{"problem": "Spell\u2028this", "answer": "x"}\n', encoding="utf-8")
    words = [sys.executable, "-m", "verl_vip.cli", "evaluate", untrained, "--benchmark", problems, "--grader", "exact"]
    words += ["--n", "2", "--max-tokens", "4", "--instruction", "", "--output", tmp_path / "out"]

    def evaluated(*options):
        return subprocess.run(
            [*words, "--engine", "dtype=float32", *options],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    refused = evaluated("enforce_eagr=true")
    assert refused.returncode == 2, refused.stderr[-3000:]
    assert "vLLM does not know an option of --engine" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    done = evaluated("max_model_len=64")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(read_samples(tmp_path / "out" / "untrained" / "spell")) == 2


def test_a_runs_checkpoints_are_merged_sampled_on_two_engines_and_compared(launcher, killed_and_resumed, tmp_path):
    _, _, run = killed_and_resumed
    words = [f"base={launcher.folder / 'model'}", run.folder, "--steps", "4", "--n", "2", "--output", tmp_path]
    done = subprocess.run(
        command(launcher, *words, "--engines", "2"),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == str(tmp_path / "report.html")
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert [(one["model"], one["step"]) for one in data["evaluations"]] == [("base", None), ("killed-step4", 4)]
    assert data["comparisons"][0]["mean"]["problems"] == 252
    for one in data["evaluations"]:
        samples = read_samples(tmp_path / one["folder"])
        assert len(samples) == len({(line["problem"], line["sample"]) for line in samples}) == 2 * 252
        assert {line["finish_reason"] for line in samples} <= {"stop", "length"}
        assert all(1 <= line["tokens"] <= 16 and line["prompt_tokens"] > 1 for line in samples)
        even = sum(len(line["text"]) % 2 == 0 for line in samples)
        assert one["mean"]["value"] == pytest.approx(even / len(samples))
        assert 0 < even < len(samples)
    assert (tmp_path / "killed-step4" / "model" / "model.safetensors").is_file()


def test_a_killed_evaluation_goes_on_and_keeps_what_it_had(launcher, tmp_path):
    words = command(launcher, f"base={launcher.folder / 'model'}", "--n", "8", "--output", tmp_path)
    folder = tmp_path / "base" / "demo"
    kept = folder / "samples.jsonl"
    with (tmp_path.parent / "killed.log").open("w+") as log:
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
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
    assert 0 < before.count(b"\n") < 8 * 252
    assert not (folder / "metrics.json").exists()

    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert kept.read_bytes().startswith(before)
    samples = read_samples(folder)
    assert len(samples) == len({(line["problem"], line["sample"]) for line in samples}) == 8 * 252
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["pass_at_k"]["8"]["value"] > metrics["mean"]["value"]
    assert metrics["mean"]["value"] == pytest.approx(sum(len(line["text"]) % 2 == 0 for line in samples) / len(samples))

    # A larger n adds to what is there.
    kept_whole = kept.read_bytes()
    words[words.index("--n") + 1] = "9"
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"holds {8 * 252} samples; the missing 252 are sampled" in done.stderr
    assert kept.read_bytes().startswith(kept_whole)
    assert len(read_samples(folder)) == 9 * 252
    assert json.loads((folder / "metrics.json").read_text())["n"] == 9
