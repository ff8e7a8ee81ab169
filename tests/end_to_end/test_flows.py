"""The demo's recipe, trained and evaluated by the flows with real verl and vLLM, without any server set up.

What it trains with is a strategy that draws from a pool.
"""

import json
import os
import subprocess
import sys

import pytest

from verl_vip.execution.files import LOG_FILE, read_entry
from verl_vip.recipes.overrides import override
from verl_vip.records.records import read_run

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(2400)]

POOL = 24


@pytest.fixture(scope="module")
def pipeline(launcher, tmp_path_factory):
    """Run the pipeline from the command line, and once more when it is through."""
    benchmark = tmp_path_factory.mktemp("benchmark") / "tasks.jsonl"
    problems = [{"problem": f"what is the sum of {n} and 1 ?", "answer": str(n + 1)} for n in range(8)]
    benchmark.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    command = [
        *(sys.executable, "-m", "verl_vip.cli", "pipeline", "--root", str(launcher.folder), "--name", "piped"),
        *("--env", "VERL_PLATFORM=cpu", "--env", "HF_HUB_OFFLINE=1", "--benchmark", str(benchmark), "--n", "2"),
        "--options=--max-tokens 8 --grader exact --engine dtype=float32 enforce_eager=true max_model_len=80",
        "demo",
        *("trainer.total_training_steps=2", "trainer.save_freq=1", f"data.train_batch_size={POOL}"),
        *("vip=balanced", "vip.balance_by=extra_info.difficulty", "vip.predictor=ridge", "vip.budget=8"),
        "vip.covariates=[extra_info.difficulty,data_source]",
        *("vip.lower=1", "vip.upper=16", "actor_rollout_ref.rollout.n=1"),
        *("actor_rollout_ref.actor.ppo_mini_batch_size=8", "trainer.val_before_train=False", "trainer.test_freq=-1"),
        *(override("demo_dir", str(launcher.folder)), "trainer.logger=[console]"),
    ]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect"))}
    return [
        subprocess.run(command, capture_output=True, text=True, timeout=1500, env=environment, check=False)
        for _ in range(2)
    ]


def test_both_checkpoints_are_trained_and_evaluated_once(pipeline, launcher):
    first, second = pipeline
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]
    folder = launcher.folder / "piped"
    summary = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert [one["step"] for one in summary["evaluations"]] == [1, 2]
    assert [one["problems"] for one in summary["evaluations"]] == [8, 8]
    assert (folder / "report.html").stat().st_size > 10_000
    jobs = [folder, *(folder / "evaluation" / "jobs").iterdir()]
    assert len(jobs) == 3
    assert [read_entry(job).attempt for job in jobs] == [1, 1, 1]
    assert "is complete" in second.stderr + second.stdout


def test_the_pool_is_drawn_evenly_over_a_field_and_fields_are_covariates(pipeline, launcher):
    folder = launcher.folder / "piped"
    log = (folder / LOG_FILE).read_text(errors="replace")
    assert "labels of the training prompts (vip.balance_by=extra_info.difficulty): '1' " in log
    assert "extra_info.difficulty (numbers from 1 to " in log
    assert "data_source (" in log
    steps = read_run(folder).steps
    assert [step.step for step in steps] == [1, 2]
    for step in steps:
        assert len(step.ids) == POOL
        assert step.requested == step.observed
        assert sum(step.observed) == step.budget == 8
