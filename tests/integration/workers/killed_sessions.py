"""Kills a session at random moments, many times over, and lets it go on each time.

Run as `python killed_sessions.py FOLDER KILLS SEED`. One process imports everything and forks a child for each
start; a child plans, "samples", observes and checkpoints as verl would, until SIGKILL ends it. What a rollout earns
depends on the step and the prompt alone, so that every start faces the same world. Prints one line of JSON.
"""

import dataclasses
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from itertools import pairwise
from pathlib import Path

import torch
from hydra import compose, initialize_config_module

from verl_vip.records.records import read_run
from verl_vip.state_file import read_state
from verl_vip.workers.session.outcomes import Rollouts
from verl_vip.workers.session.run_state import STATE_FILE
from verl_vip.workers.session.session import Session
from verl_vip.workers.settings.run_settings import RunSettings

STEPS, PROMPTS, POOL, NOMINAL = 40, 6, 30, 8
MARK = "latest_checkpointed_iteration.txt"
LONGEST_LIFE_S = 0.5  # of processor time, so that as much is done on a machine that does other work beside it


class WordEmbedder:
    """Stands in for the sentence encoder, which is not what is tested: a fixed vector for every prompt."""

    def embed(self, ids, texts):
        rows = [torch.tensor([float(byte) for byte in hashlib.blake2b(name.encode()).digest()[:8]]) for name in ids]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


def settings(folder: Path) -> RunSettings:
    mark = folder / MARK
    resume_dir = folder / f"global_step_{mark.read_text()}" if mark.exists() else None
    return dataclasses.replace(demo_settings(), checkpoint_dir=folder, resume_dir=resume_dir)


@functools.cache
def demo_settings() -> RunSettings:
    overrides = [f"data.train_batch_size={PROMPTS}", f"actor_rollout_ref.rollout.n={NOMINAL}", "trainer.save_freq=2"]
    with initialize_config_module("verl_vip.recipes", version_base=None):
        config = compose("demo", overrides=[*overrides, "trainer.resume_mode=disable"])
    return RunSettings.from_verl(config)


def train(folder: Path) -> None:
    """Take the steps that are left, checkpointing in verl's order: model, mark, callback."""
    session = Session(settings(folder))
    session.planner.embedder = WordEmbedder()
    session.restore()
    session.start(last_step=STEPS)
    for step in range((session.settings.resume_step or 0) + 1, STEPS + 1):
        prompts = random.Random(step).sample(range(POOL), PROMPTS)
        uids = [f"{step}-{prompt}" for prompt in prompts]
        counts = session.plan(step=step, uids=uids, messages=[f"prompt {p}" for p in prompts], labels=["x"] * PROMPTS)
        rows = [(uid, number) for uid, count in zip(uids, counts, strict=True) for number in range(count)]
        rewards = [float(random.Random(f"{uid}/{number}").random() < 0.5) for uid, number in rows]
        taken = session.training_step(step)
        assert not taken.receive(Rollouts([uid for uid, _ in rows], rewards, [1] * len(rows)))
        taken.select()
        taken.observe()
        if step % 2 == 0:
            checkpoint = folder / f"global_step_{step}"
            (checkpoint / "actor").mkdir(parents=True, exist_ok=True)
            (checkpoint / "actor" / "model.pt").write_bytes(os.urandom(200_000))
            # verl writes the mark in place; a kill within that write is verl's to survive, not the session's.
            partial = folder / f".{MARK}"
            partial.write_text(str(step))
            partial.replace(folder / MARK)
            session.save(checkpoint, step)


def start(folder: Path) -> int:
    """Fork a child that trains; returns its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        train(folder)
        status = 0
    finally:  # the child must never return into the parent's code
        if status:
            traceback.print_exc()
        os._exit(status)


def wait_for_work(child: int, seconds: float) -> None:
    """Return when a child has used so much processor time, or has ended."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    while True:
        state, *fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        used = (int(fields[10]) + int(fields[11])) * tick
        if state == "Z" or used + tick > seconds:
            break
        time.sleep(tick / 10)
    time.sleep(seconds % tick)  # ticks are counted whole


def check(folder: Path) -> int:
    """Fail unless everything up to the last mark is there; returns the marked step, 0 without one."""
    if not (folder / MARK).exists():
        return 0
    marked = int((folder / MARK).read_text())
    state = read_state(folder / f"global_step_{marked}" / STATE_FILE)
    assert state["step"] == marked
    assert state["rollouts_total"] == marked * PROMPTS * NOMINAL
    steps = [record.step for record in read_run(folder).steps]
    assert steps == list(range(1, len(steps) + 1)), steps
    assert len(steps) >= marked
    return marked


def requested(folder: Path) -> list[list[int]]:
    return [record.requested for record in read_run(folder).steps]


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    generator = random.Random(seed)
    reference = folder / "reference"
    train(reference)  # in this process, so that the children find everything imported
    marks, mismatches, runs = [], 0, 0
    victim = folder / "victim"
    while len(marks) < kills:
        child = start(victim)
        wait_for_work(child, generator.uniform(0, LONGEST_LIFE_S))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            marks.append(check(victim))
            continue
        assert os.WEXITSTATUS(status) == 0, "a resumed session failed"
        runs += 1
        mismatches += requested(victim) != requested(reference)
        shutil.rmtree(victim)
    child = start(victim)
    assert os.waitpid(child, 0)[1] == 0
    mismatches += requested(victim) != requested(reference)
    advances = sum(later != earlier for earlier, later in pairwise(marks))
    report = {"kills": len(marks), "runs": runs + 1, "mismatches": mismatches, "advances": advances}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
