"""Runs jobs and appends each result as a line of JSON; finished jobs are not run again."""

import json
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.learning.loop import Run, RunPlan, accuracy, identity
from benchmarks.learning.world import TaskWorld, load_world

#: Two runs whose accuracy before training differs by more than this started from different base models.
_SAME_START = 1e-4


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the finished jobs of a file, without an incomplete last line."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def run_jobs(
    jobs: Sequence[RunPlan], results: Path, cache: Path, *, workers: int = 1, minutes: float = float("inf")
) -> None:
    """Run the unfinished jobs in order, and append each result to `results`.

    Args:
        jobs: The jobs.
        results: A file of JSON lines.
        cache: Folder of base models and embeddings.
        workers: Number of processes. They are forked after everything is loaded, so that more of them cost little.
        minutes: No job starts after this many minutes.

    Raises:
        RuntimeError: If a worker failed; the results of the others are kept.
        SystemExit: If finished runs started from another base model.
    """
    _drop_cut_line(results)
    records = read_results(results)
    finished = {identity(record["job"]) for record in records}
    missing = [job for job in jobs if identity(job.key()) not in finished]
    worlds = {task_set: load_world(cache, task_set) for task_set in dict.fromkeys(job.task_set for job in missing)}
    for task_set, world in worlds.items():
        _check_start(records, task_set, accuracy(world.policy(), world), results)
    deadline = time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("fork")
    turn = context.Value("l", 0)  # index of the next job; the list itself is inherited
    arguments = (missing, turn, worlds, results, deadline)
    processes = [context.Process(target=_work, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a worker failed; its message is above. Run the command again to run what is missing.")


def _check_start(records: Sequence[Mapping[str, Any]], task_set: str, start: float, results: Path) -> None:
    """Refuse to mix runs from two base models; another processor rounds differently and trains another one."""
    for record in records:
        begun = record["curve"][0]["accuracy"]
        if record["job"]["task_set"] == task_set and abs(begun - start) > _SAME_START:
            raise SystemExit(
                f"{results} has runs on {task_set} from a base model of accuracy {begun:.4f}, but the one here has "
                f"{start:.4f}, because it was trained on another processor. Move the file away to start afresh."
            )


def _work(jobs: Sequence[RunPlan], turn: Any, worlds: dict[str, TaskWorld], results: Path, deadline: float) -> None:
    while time.monotonic() < deadline:
        with turn.get_lock():
            place = turn.value
            turn.value = place + 1
        if place >= len(jobs):
            return
        job = jobs[place]
        run = Run(job, worlds[job.task_set])
        curve = [asdict(point) for point in run.train()]
        record = {"job": job.key(), "curve": curve, "seconds": run.seconds}
        _append(results, json.dumps(record) + "\n")
        print(f"{job.arm.name}, rate {job.learning_rate:g}, seed {job.seed}: {curve[-1]['accuracy']:.3f}", flush=True)


def _append(path: Path, line: str) -> None:
    """Append in one system call, so that workers do not mix their lines in the shared file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _drop_cut_line(path: Path) -> None:
    """Remove the incomplete line that a kill left, so that the next result starts on a new line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
