"""Stock verl trains real steps through our hooks, is killed, and goes on; what it has saved is evaluated.

All of this is seen from outside, too: no token is shown, and nothing is reached from other machines.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from fixtures.exposure import TOKEN, require_hidden, watch

from verl_vip.state_file import read_state
from verl_vip.workers.session.run_state import STATE_FILE

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(2400)]

BUDGET = 8 * 8
EVALUATION_S = 900


def test_every_step_spends_the_budget_exactly_as_requested(killed_and_resumed):
    _, _, run = killed_and_resumed
    steps = run.records.steps
    assert [step.step for step in steps] == [1, 2, 3, 4]
    for step in steps:
        assert step.requested == step.observed
        assert sum(step.observed) == step.budget == BUDGET
        assert all(3 <= count <= 16 for count in step.requested)
    assert steps[-1].rollouts_total == 4 * BUDGET


def test_verls_own_log_has_the_budget_of_every_step(killed_and_resumed):
    _, _, run = killed_and_resumed
    # Step 2 may be missing: the first process was killed as soon as its checkpoint was marked.
    logged = {step: line for step, line in re.findall(r"step:(\d+) - (.*)", run.text) if "vip/budget" in line}
    assert set(logged) >= {"1", "3", "4"}
    for line in logged.values():
        assert f"vip/budget:{float(BUDGET)} " in line
        assert f"vip/rollouts/observed:{float(BUDGET)} " in line


def test_counts_differ_and_follow_the_prediction(killed_and_resumed):
    _, _, run = killed_and_resumed
    informed = [step for step in run.records.steps if len(set(step.predicted)) > 1]
    assert informed, "the predictor told no two prompts apart"
    assert any(len(set(step.requested)) > 1 for step in informed)
    for step in informed:
        moments = zip(step.predicted, step.predicted_variance, step.requested, strict=True)
        ranked = sorted((mean * (1 - mean) - variance, count) for mean, variance, count in moments)
        counts = [count for _, count in ranked]
        assert counts == sorted(counts)


def test_the_continuation_starts_from_the_checkpoint_with_the_predictors_state(killed_and_resumed):
    before, state, run = killed_and_resumed
    assert state["step"] == 2
    assert state["rollouts_total"] == 2 * BUDGET
    after = run.records
    assert [header.resumed_from for header in after.headers] == [None, 2]
    assert after.steps[:2] == before.steps[:2]
    assert "resumed after step 2 with the predictor's state" in run.text
    restored = read_state(run.folder / "global_step_4" / STATE_FILE)
    assert restored["rollouts_total"] == 4 * BUDGET
    known = {prompt for step in after.steps for prompt in step.ids}
    assert predictor_ids(restored) >= known


def test_the_continuation_asks_for_what_an_uninterrupted_run_asks_for(killed_and_resumed, uninterrupted):
    _, _, run = killed_and_resumed
    for resumed, straight in zip(run.records.steps, uninterrupted.records.steps, strict=True):
        assert resumed.ids == straight.ids
        assert resumed.requested == straight.requested
        assert resumed.successes == straight.successes
        assert resumed.predicted == pytest.approx(straight.predicted, abs=1e-9)


def predictor_ids(state) -> set[str]:
    found: set[str] = set()

    def collect(value):
        if isinstance(value, dict):
            for key, item in value.items():
                found.add(str(key))
                collect(item)
        elif isinstance(value, list | tuple):
            for item in value:
                collect(item)
        elif isinstance(value, str):
            found.add(value)
        else:
            assert isinstance(value, torch.Tensor | int | float | bool | type(None))

    collect(state)
    return found


def test_validation_is_recorded_and_taught_to_nobody(killed_and_resumed):
    _, _, run = killed_and_resumed
    checks = run.records.validations
    assert checks[0].step == 0
    assert sum(checks[0].count.values()) > 100
    assert all(0 <= check.accuracy <= 1 for check in checks)


def test_a_training_on_a_private_ray_shows_no_token_and_is_reached_from_here_alone(watched):
    require_hidden(watched.seen, watched.ray_folder, watched.run.folder)


@pytest.fixture
def ray_folder():
    """Where a private Ray keeps its logs; short, since the names of sockets are."""
    with tempfile.TemporaryDirectory(prefix="vip-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_checkpoints_are_merged_sampled_on_two_engines_and_compared_without_a_token_in_sight(
    launcher, evaluate, killed_and_resumed, tmp_path, ray_folder
):
    _, _, run = killed_and_resumed
    output = tmp_path / "out"
    words = evaluate(f"base={launcher.folder / 'model'}", run.folder, "--steps", "4", "--n", "2", "--output", output)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "RAY_TMPDIR": str(ray_folder)}
    printed, log = tmp_path / "printed", tmp_path / "log"
    with printed.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(
            [*words, "--engines", "2"],
            env={**environment, "HF_TOKEN": TOKEN, "VLLM_API_KEY": TOKEN},
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        seen = watch(process, EVALUATION_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
    assert process.returncode == 0, log.read_text()[-3000:]
    require_hidden(seen, ray_folder, printed, log, output)

    assert printed.read_text().strip() == str(output / "report.html")
    data = json.loads((output / "metrics.json").read_text())
    assert [(one["model"], one["step"]) for one in data["evaluations"]] == [("base", None), ("killed-step4", 4)]
    assert data["comparisons"][0]["mean"]["problems"] == 252
    for one in data["evaluations"]:
        samples = [json.loads(line) for line in (output / one["folder"] / "samples.jsonl").read_text().splitlines()]
        assert len(samples) == len({(line["problem"], line["sample"]) for line in samples}) == 2 * 252
        assert {line["finish_reason"] for line in samples} <= {"stop", "length"}
        assert all(1 <= line["tokens"] <= 16 and line["prompt_tokens"] > 1 for line in samples)
        even = sum(len(line["text"]) % 2 == 0 for line in samples)
        assert one["mean"]["value"] == pytest.approx(even / len(samples))
        assert 0 < even < len(samples)
    assert (output / "killed-step4" / "model" / "model.safetensors").is_file()
