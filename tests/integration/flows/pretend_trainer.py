"""Behaves like verl's trainer towards those who watch it: checkpoints, records, resume. Started as its own process.

Settings are read from the command line as Hydra overrides:
    steps=N seconds=S save_every=K   how long, how fast, how often
    kilobytes=N                      what a checkpoint takes
    hold=N                           wait before step N for a file `go` in the run's folder or the one above
    keep=N                           how many checkpoints keep their model
    fail_at=N fail_once=N kill_once=N   an error at a step: always, the first time; the first time by SIGKILL
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from verl_vip.durable_files import replace_file
from verl_vip.records.records import RecordWriter, RunHeader, StepRecord, ValidationRecord

BUDGET = 8


def main(arguments: list[str]) -> None:
    settings = dict(word.lstrip("+").split("=", 1) for word in arguments if "=" in word and not word.startswith("--"))
    folder = Path(settings["trainer.default_local_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    if settings.get("fail_strategy") == settings.get("vip.strategy", "vip"):
        sys.exit("out of luck")
    if "no_such_key" in settings:
        sys.exit("Could not override 'no_such_key'")
    steps, save_every = int(settings.get("steps", 4)), int(settings.get("save_every", 2))
    budget = BUDGET * int(settings.get("actor_rollout_ref.rollout.n", 1))
    tracker = folder / "latest_checkpointed_iteration.txt"
    begin = int(tracker.read_text()) if tracker.exists() else 0
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{begin}\n")
    writer = RecordWriter(folder)
    writer.rewind(begin)
    writer.append(
        RunHeader(
            started_at=time.time(),
            settings={"trainer.total_training_steps": steps, "vip": {"strategy": settings.get("vip.strategy", "vip")}},
            versions={},
            prompts_per_step=2,
            budget=budget,
            resumed_from=begin or None,
        )
    )
    print(f"training from step {begin}", flush=True)
    for step in range(begin + 1, steps + 1):
        while step == int(settings.get("hold", -1)) and not (folder / "go").exists() | (folder.parent / "go").exists():
            time.sleep(0.02)
        time.sleep(float(settings.get("seconds", 0.05)))
        fail(settings, folder, step)
        writer.append(record(step, budget, settings))
        print(f"step:{step} - done", flush=True)
        if step % save_every == 0 or step == steps:
            actor = folder / f"global_step_{step}" / "actor"
            actor.mkdir(parents=True, exist_ok=True)  # a checkpoint that was broken off is written over
            write_model(actor, bytes(1024 * int(settings.get("kilobytes", 1))))
            for earlier in range(step - save_every * int(settings.get("keep", steps)), 0, -save_every):
                shutil.rmtree(folder / f"global_step_{earlier}" / "actor", ignore_errors=True)
            replace_file(tracker, str(step).encode())
            right = float(settings.get("accuracy", 0.5))
            if settings.get("validate") == "0":
                continue
            writer.append(ValidationRecord(step, time.time(), step * budget, {"sum": right * 10}, {"sum": 10}))


def write_model(actor: Path, weights: bytes) -> None:
    """Write what verl writes of a model on one rank."""
    (actor / "huggingface").mkdir(exist_ok=True)
    (actor / "huggingface" / "config.json").write_text("{}")
    (actor / "model_world_size_1_rank_0.pt").write_bytes(weights)
    (actor / "fsdp_config.json").write_text('{"FSDP_version": 2, "world_size": 1}')


def record(step: int, budget: int, settings: dict[str, str]) -> StepRecord:
    counts = [budget // 2, budget - budget // 2]
    return StepRecord(
        step=step,
        wall_time=time.time(),
        strategy=settings.get("vip.strategy", "vip"),
        budget=budget,
        ids=["a", "b"],
        labels=["sum", "sum"],
        requested=counts,
        observed=counts,
        predicted=[0.5, 0.5],
        predicted_variance=[0.01, 0.01],
        successes=[1.0, 1.0],
        rollouts_total=step * budget,
        seconds={},
    )


def fail(settings: dict[str, str], folder: Path, step: int) -> None:
    if int(settings.get("fail_at", -1)) == step:
        sys.exit("out of luck")
    for kind in ("fail_once", "kill_once"):
        mark = folder / kind
        if int(settings.get(kind, -1)) == step and not mark.exists():
            mark.touch()
            if kind == "kill_once":
                os.kill(os.getpid(), signal.SIGKILL)
            sys.exit("out of luck, once")


if __name__ == "__main__":
    main(sys.argv[1:])
