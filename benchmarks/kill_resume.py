"""Kills the demo with SIGKILL at random moments, resumes it each time, and reports the losses.

    python benchmarks/kill_resume.py --kills 20 --folder runs/kill_resume

One run of the demo recipe is left undisturbed. Another is killed and resumed from its last checkpoint again and again,
and then finishes. It is killed during start-up, during training steps, while it writes a checkpoint, and right after
verl marks a checkpoint complete. After each kill, everything up to that mark must be on disk. In the end, both runs
must have the same counts in every step. Every rollout has a seed (`verl_vip.workers.sampling.seeded_agent`), so both
runs sample the same rollouts. A start takes a minute or more. If the script is interrupted, the same command
continues it.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from verl_vip.recipes.demo.base_model import BaseModelSettings, build_base_model
from verl_vip.recipes.demo.dataset import write_dataset
from verl_vip.recipes.demo.supervised import TrainSettings
from verl_vip.recipes.overrides import override
from verl_vip.records.records import read_run, records_path
from verl_vip.state_file import read_state

Moment = Literal["start_up", "step", "checkpoint", "mark"]
MARK = "latest_checkpointed_iteration.txt"
STATE = "vip_state.pt"
SAVE_FREQ = 2
RESULTS = Path(__file__).parent / "results" / "kill_resume" / "results.json"
_LONGEST_START_S = 400
_MARKER = "VERL_VIP_KILL_RESUME"


@dataclass(frozen=True)
class Kill:
    """One kill and the state of the run after it."""

    moment: Moment
    seconds_after_start: float
    marked_step: int
    recorded_steps: int


class Victim:
    """A run of the demo whose processes can all be killed at once, as by a power cut."""

    def __init__(self, folder: Path, name: str, steps: int) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        agents = folder / "agents.yaml"
        agents.write_text("- name: seeded\n  _target_: verl_vip.workers.sampling.seeded_agent.SeededAgent\n")
        self._marker = uuid.uuid4().hex
        self.started_at = time.time()
        self._began = time.monotonic()
        self.log = self.folder / "train.log"
        command = [
            *(sys.executable, "-m", "verl.trainer.main_ppo"),
            *("--config-path=pkg://verl_vip.recipes", "--config-name=demo"),
            override("demo_dir", str(folder.resolve())),
            override("trainer.default_local_dir", str(self.folder.resolve())),
            *("data.train_batch_size=8", "vip.upper=16"),
            "actor_rollout_ref.actor.ppo_mini_batch_size=8",
            override("actor_rollout_ref.rollout.agent.agent_loop_config_path", str(agents.resolve())),
            "actor_rollout_ref.rollout.agent.default_agent_loop=seeded",
            "actor_rollout_ref.rollout.enable_chunked_prefill=False",
            *(f"trainer.total_training_steps={steps}", f"trainer.save_freq={SAVE_FREQ}"),
            *("trainer.test_freq=-1", "trainer.val_before_train=False", "trainer.logger=[console]"),
        ]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    "VERL_PLATFORM": "cpu",
                    "HF_HUB_OFFLINE": "1",
                    "RAY_worker_niceness": "0",
                    _MARKER: self._marker,
                },
            )

    @property
    def age(self) -> float:
        return time.monotonic() - self._began

    def wait(self, condition: Callable[[], bool], timeout: float = _LONGEST_START_S) -> bool:
        """Return whether a condition became true before the run ended."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing happened for {timeout:.0f} s; see {self.log}")
            time.sleep(0.002)
        return True

    def kill(self) -> None:
        """Send SIGKILL to every process of the run, including Ray's and vLLM's, until none is left."""
        deadline = time.monotonic() + 60
        while (left := self._processes()) and time.monotonic() < deadline:
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        self.process.wait(timeout=30)

    def _processes(self) -> list[int]:
        """Return the processes with the marker of this start in their environment."""
        found = []
        needle = f"{_MARKER}={self._marker}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and needle in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


def marked_step(folder: Path) -> int:
    """Return the step of verl's mark, or 0 without one."""
    mark = folder / MARK
    return int(mark.read_text()) if mark.exists() else 0


def recorded_steps(folder: Path) -> int:
    if not records_path(folder).exists():
        return 0
    return max((step.step for step in read_run(folder).steps), default=0)


def has_stepped(folder: Path, since: float) -> bool:
    """Return whether a step was recorded after a Unix time."""
    if not records_path(folder).exists():
        return False
    run = read_run(folder)
    return run.headers[-1].started_at > since and bool(run.steps) and run.steps[-1].wall_time > since


def await_moment(victim: Victim, moment: Moment, generator: random.Random) -> bool:
    """Wait for a random moment of the given kind, and return False if the run ended first."""
    folder, marked = victim.folder, marked_step(victim.folder)
    if moment == "start_up":
        until = generator.uniform(1, 40)
        return victim.wait(lambda: victim.age > until)
    if moment == "step":
        if not victim.wait(lambda: has_stepped(folder, victim.started_at)):
            return False
        until = victim.age + generator.uniform(0, 15)
        return victim.wait(lambda: victim.age > until)
    if moment == "checkpoint":
        coming = folder / f"global_step_{marked + SAVE_FREQ}" / "actor"
        if not victim.wait(coming.exists):
            return False
        until = victim.age + generator.uniform(0, 0.5)
        return victim.wait(lambda: victim.age > until)
    before = (folder / MARK).stat().st_mtime_ns if marked else None
    return victim.wait(lambda: (folder / MARK).exists() and (folder / MARK).stat().st_mtime_ns != before)


def examine(victim: Victim, moment: Moment, age: float) -> Kill:
    """Raise an error unless everything up to verl's mark is on disk."""
    marked, recorded = marked_step(victim.folder), recorded_steps(victim.folder)
    if marked:
        state = read_state(victim.folder / f"global_step_{marked}" / STATE)
        if state["step"] != marked or recorded < marked:
            raise RuntimeError(f"lost: mark {marked}, state {state['step']}, records up to {recorded}")
    return Kill(moment, round(age, 1), marked, recorded)


def finish(folder: Path, name: str, steps: int) -> None:
    if recorded_steps(folder / name) == steps and marked_step(folder / name) == steps:
        return
    victim = Victim(folder, name, steps)
    try:
        status = victim.process.wait(timeout=_LONGEST_START_S + 30 * steps)
    finally:
        victim.kill()
    if status:
        raise RuntimeError(f"verl ended with status {status}; see {victim.log}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=48, help="training steps of each run; each kill needs two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/kill_resume"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    write_dataset(folder / "data")
    training = TrainSettings(tasks_per_cell=50, right_steps=20, mixed_steps=10)
    build_base_model(
        folder / "model", BaseModelSettings(hidden_size=64, intermediate_size=64, layers=1, training=training)
    )
    journal = folder / "kills.json"
    kills = [Kill(**kill) for kill in json.loads(journal.read_text())] if journal.exists() else []
    while len(kills) < arguments.kills:
        generator = random.Random(f"{arguments.seed}/{len(kills)}")
        moment = get_args(Moment)[len(kills) % 4]
        victim = Victim(folder, "killed", arguments.steps)
        try:
            if not await_moment(victim, moment, generator):
                raise RuntimeError(f"the run ended before it could be killed; give more --steps, or see {victim.log}")
            age = victim.age
        finally:
            victim.kill()
        kills.append(examine(victim, moment, age))
        journal.write_text(json.dumps([asdict(kill) for kill in kills], indent=1))
        print(kills[-1], flush=True)
    finish(folder, "killed", arguments.steps)
    finish(folder, "straight", arguments.steps)
    pairs = zip(read_run(folder / "killed").steps, read_run(folder / "straight").steps, strict=True)
    same = [first.ids == second.ids and first.requested == second.requested for first, second in pairs]
    report = {"kills": len(kills), "lost": 0, "steps": len(same), "steps_with_the_same_counts": sum(same)}
    print(json.dumps(report))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({**report, "each": [asdict(kill) for kill in kills]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
