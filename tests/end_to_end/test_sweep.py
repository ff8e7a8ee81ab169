"""The demo's recipe, swept by the flow with real verl and vLLM, stopped on the way and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from verl_vip.execution.files import is_locked, read_entry
from verl_vip.recipes.overrides import override
from verl_vip.records.records import read_run

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(2400)]


def test_a_sweep_that_is_stopped_runs_no_trial_twice(launcher, tmp_path):
    command = [
        *(sys.executable, "-m", "verl_vip.cli", "sweep", "--root", str(launcher.folder), "--name", "swept"),
        *("--strategies", "vip", "--budgets", "4,8", "--seeds", "1"),
        *("--env", "VERL_PLATFORM=cpu", "--env", "HF_HUB_OFFLINE=1", "demo"),
        *("trainer.total_training_steps=2", "trainer.save_freq=1", "data.train_batch_size=8"),
        *("actor_rollout_ref.actor.ppo_mini_batch_size=8", "vip.upper=16", "trainer.test_freq=2"),
        *(override("demo_dir", str(launcher.folder)), "trainer.logger=[console]"),
    ]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    trials = launcher.folder / "swept" / "trials"

    with (tmp_path / "log").open("wb") as log:
        flow = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + 1200
        while not (list(trials.glob("*/complete.json")) and len(list(trials.glob("*/job.json"))) == 2):
            assert flow.poll() is None, (tmp_path / "log").read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        flow.send_signal(signal.SIGTERM)
        assert flow.wait(timeout=300) == 128 + signal.SIGTERM
    finally:
        flow.kill()
    assert not any(is_locked(trial) for trial in trials.iterdir())
    (done,) = (mark.parent.name.split("-seed")[0] for mark in trials.glob("*/complete.json"))  # either may be first

    again = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    attempts = {trial.name.split("-seed")[0]: read_entry(trial).attempt for trial in trials.iterdir()}
    assert attempts == {"vip-n4": 2, "vip-n8": 2} | {done: 1}
    for trial in trials.iterdir():
        records = read_run(trial)
        assert [step.step for step in records.steps] == [1, 2]
        budget = 8 * int(trial.name.split("-")[1][1:])
        assert [sum(step.observed) for step in records.steps] == [budget, budget]
    rows = (launcher.folder / "swept" / "pareto.md").read_text().splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["vip (n=4)", "vip (n=8)"]
    assert (launcher.folder / "swept" / "report.html").stat().st_size > 10_000
    assert json.loads((launcher.folder / "swept" / "sweep.json").read_text())["designs"]
