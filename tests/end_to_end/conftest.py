"""Real runs: verl's own trainer as a process of its own, on a small model, with nothing replaced.

Each run costs about a minute of start-up, so that few runs answer many questions.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fixtures.exposure import TOKEN, Exposure, watch

from verl_vip.execution.ray_variables import PRIVATE_RAY
from verl_vip.recipes.demo.base_model import BaseModelSettings, build_base_model
from verl_vip.recipes.demo.dataset import write_dataset
from verl_vip.recipes.demo.supervised import TrainSettings
from verl_vip.recipes.overrides import override
from verl_vip.records.records import RunRecords, read_run
from verl_vip.state_file import read_state
from verl_vip.workers.session.run_state import STATE_FILE

#: The model is hardly trained: by the demo's own reward it would never be right.
REWARD = Path(__file__).with_name("even_length_reward.py")

#: A run that takes longer than this hangs.
RUN_TIMEOUT_S = 900


@dataclass
class Run:
    """One invocation of verl."""

    folder: Path
    log: Path
    process: "subprocess.Popen[bytes]"

    def wait(self, timeout: float = RUN_TIMEOUT_S) -> int:
        try:
            return self.process.wait(timeout=timeout)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the whole process group at once, as a power cut would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)

    def wait_for(self, condition: Callable[[], bool], timeout: float = RUN_TIMEOUT_S) -> None:
        """Wait until a condition holds while the run goes on; fails with the log's end otherwise."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f"verl ended early:\n{self.text[-3000:]}"
            assert time.monotonic() < deadline, f"not within {timeout} s:\n{self.text[-3000:]}"
            time.sleep(0.1)

    def has_saved(self) -> bool:
        """Whether verl has marked a checkpoint; it writes the mark in place, so that it may be there and empty."""
        tracker = self.folder / "latest_checkpointed_iteration.txt"
        return tracker.exists() and tracker.read_text() != ""

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def records(self) -> RunRecords:
        return read_run(self.folder)


class Launcher:
    """Starts verl with the demo's recipe at a small size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, name: str, *overrides: str, **environment: str) -> Run:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        agents = self.folder / "agents.yaml"  # every rollout has a seed, so that runs can be compared
        agents.write_text("- name: seeded\n  _target_: verl_vip.workers.sampling.seeded_agent.SeededAgent\n")
        log = folder / "train.log"
        command = [
            sys.executable,
            "-m",
            "verl.trainer.main_ppo",
            "--config-path=pkg://verl_vip.recipes",
            "--config-name=demo",
            override("demo_dir", str(self.folder)),
            override("trainer.default_local_dir", str(folder)),
            "data.train_batch_size=8",
            "actor_rollout_ref.actor.ppo_mini_batch_size=8",
            "vip.upper=16",
            override("reward.custom_reward_function.path", str(REWARD)),
            "reward.custom_reward_function.name=always_right_about_numbers",
            override("actor_rollout_ref.rollout.agent.agent_loop_config_path", str(agents)),
            "actor_rollout_ref.rollout.agent.default_agent_loop=seeded",
            "actor_rollout_ref.rollout.enable_chunked_prefill=False",
            "trainer.test_freq=-1",
            "trainer.logger=[console]",
            *overrides,
        ]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "VERL_PLATFORM": "cpu", "HF_HUB_OFFLINE": "1", **environment},
            )
        return Run(folder, log, process)

    def run(self, name: str, *overrides: str, **environment: str) -> Run:
        run = self.start(name, *overrides, **environment)
        assert run.wait() == 0, run.text[-3000:]
        return run


@pytest.fixture(scope="session")
def launcher(tmp_path_factory) -> Launcher:
    folder = tmp_path_factory.mktemp("end_to_end")
    write_dataset(folder / "data")
    settings = BaseModelSettings(
        hidden_size=64,
        intermediate_size=64,
        layers=1,
        training=TrainSettings(tasks_per_cell=50, right_steps=20, mixed_steps=10),
    )
    build_base_model(folder / "model", settings)
    return Launcher(folder)


@pytest.fixture
def evaluate(launcher) -> Callable[..., list[str]]:
    """The command that evaluates models on the demo's validation set."""

    def command(*words: object) -> list[str]:
        return [
            *(sys.executable, "-m", "verl_vip.cli", "evaluate", *map(str, words)),
            *("--benchmark", f"demo={launcher.folder / 'data' / 'validation.parquet'}"),
            *("--grader", f"{REWARD}:compute_score"),
            *("--max-tokens", "16", "--engine", "dtype=float32", "max_model_len=80"),
        ]

    return command


@pytest.fixture(scope="session")
def killed_and_resumed(launcher):
    """A run killed with SIGKILL some time after its checkpoint of step 2, and its continuation to step 4."""
    settings = ["trainer.total_training_steps=4", "trainer.save_freq=2", "trainer.val_before_train=True"]
    first = launcher.start("killed", *settings)
    try:
        first.wait_for(first.has_saved)
    finally:
        first.kill()
    before = read_run(first.folder)
    state = read_state(first.folder / "global_step_2" / STATE_FILE)
    second = launcher.run("killed", *settings)
    return before, state, second


@dataclass
class WatchedRun:
    """A run on a private Ray, with tokens in its environment, and what was seen of it from outside."""

    run: Run
    seen: Exposure
    ray_folder: Path


@pytest.fixture(scope="session")
def watched(launcher):
    """Four steps without a checkpoint, of the same seeds as every other run."""
    # Short, since the names of Ray's sockets are.
    with tempfile.TemporaryDirectory(prefix="vip-", dir="/tmp", ignore_cleanup_errors=True) as ray_folder:
        run = launcher.start(
            "uninterrupted",
            *("trainer.total_training_steps=4", "trainer.save_freq=-1", "trainer.val_before_train=False"),
            HF_TOKEN=TOKEN,
            WANDB_API_KEY=TOKEN,
            RAY_TMPDIR=ray_folder,
            **PRIVATE_RAY,
        )
        try:
            seen = watch(run.process, RUN_TIMEOUT_S)
        finally:
            run.kill()
        assert run.process.returncode == 0, run.text[-3000:]
        yield WatchedRun(run, seen, Path(ray_folder))


@pytest.fixture(scope="session")
def uninterrupted(watched) -> Run:
    return watched.run
