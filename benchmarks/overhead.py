"""What verl-vip adds to a training step.

    python benchmarks/overhead.py session [--pool 17398] [--batch 512]
    python benchmarks/overhead.py run --folder runs/demo [--steps 12]

`session` times one whole step of ours in this process, part by part: the real session, embeddings read from the
real cache on disk, the recipe's predictor and strategy, metrics, records on disk, and the advantages of every row.
Only the sentence encoder is left out; it runs once a prompt. All prompts of the pool have been seen before.

`run` trains the demo twice on the same prompts and the same total, with stock verl's fixed count and its own
estimator, and with ours, and compares the steps by verl's own clock. The first step of each is left out, since it
warms vLLM up. `make demo` makes the input. The stock replay buffer looks for finished rollouts every two seconds and
ours more often, so that a step of ours may well be the shorter one; what ours costs is listed beside it.

Absolute times depend on the machine, and on what else it does.
"""

import argparse
import json
import logging
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from verl_vip.recipes.overrides import override

STOCK = (
    "algorithm.adv_estimator=rloo",
    "trainer.checkpoint_callback_class=null",
    "trainer.v1.sampler.custom_sampler.path=null",
    "trainer.v1.sampler.custom_sampler.name=null",
    "actor_rollout_ref.rollout.agent.agent_loop_manager_class=null",
)
_RESPONSE_LENGTH = 16
_RUN_TIMEOUT_S = 1200


def quantiles(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return f"median {1000 * statistics.median(ordered):7.2f} ms, slowest {1000 * ordered[-1]:7.2f} ms"


def open_session(folder: Path, batch: int, overrides: list[str]) -> Any:
    """Return a started session of the demo recipe over larger batches, whose encoder is random vectors."""
    from hydra import compose, initialize_config_module

    from verl_vip.prediction.embedding import PromptEmbedder
    from verl_vip.workers.run_settings import RunSettings
    from verl_vip.workers.session import Session

    class RandomEncoder(PromptEmbedder):
        def _encode(self, texts: list[str]) -> torch.Tensor:
            return torch.nn.functional.normalize(torch.randn(len(texts), 384), dim=1)

    fixed = [
        override("demo_dir", str(folder)),
        f"data.train_batch_size={batch}",
        "vip.upper=32",
        "trainer.save_freq=-1",
    ]
    with initialize_config_module("verl_vip.recipes", version_base=None):
        settings = RunSettings.from_verl(compose("demo", overrides=[*fixed, *overrides]))
    session = Session(settings)
    session.planner.embedder = RandomEncoder(settings.vip.embedding_model, cache_dir=folder / "random")
    session.restore()
    session.start()
    return session


def take_step(session: Any, step: int, prompts: Sequence[int]) -> dict[str, float]:
    """Take one step over the given prompts of the pool; returns the seconds of its parts."""
    from verl_vip.workers.advantage import row_advantages
    from verl_vip.workers.outcomes import Rollouts

    uids = [f"{step}/{prompt}" for prompt in prompts]
    messages = [[{"role": "user", "content": f"prompt number {prompt} of the pool"}] for prompt in prompts]
    began = time.perf_counter()
    counts = session.plan(step=step, uids=uids, messages=messages, labels=["pool"] * len(uids))
    planned = time.perf_counter()
    rows = [uid for uid, count in zip(uids, counts, strict=True) for _ in range(count)]
    chance = {uid: (prompt % 11) / 10 for uid, prompt in zip(uids, prompts, strict=True)}
    rewards = [float(random.random() < chance[uid]) for uid in rows]
    sampled = time.perf_counter()
    session.receive(step=step, rollouts=Rollouts(rows, rewards, [_RESPONSE_LENGTH] * len(rows)))
    session.select(step)
    session.observe(step)
    observed = time.perf_counter()
    row_advantages(torch.tensor(rewards), rows, session.update_terms, estimator="rloo", rows=len(rows))
    done = time.perf_counter()
    return {"plan": planned - began, "observe": observed - sampled, "advantages": done - observed}


def time_session(pool: int, batch: int, steps: int, overrides: list[str]) -> None:
    logging.getLogger("verl_vip").setLevel(logging.ERROR)
    random.seed(0)
    torch.manual_seed(0)
    order = list(range(pool))
    with tempfile.TemporaryDirectory(prefix="verl_vip_overhead_") as folder:
        session = open_session(Path(folder), batch, overrides)
        step = 0
        for start in range(0, pool, batch):
            step += 1
            take_step(session, step, order[min(start, pool - batch) :][:batch])
        taken = []
        for _ in range(steps):
            step += 1
            taken.append(take_step(session, step, random.sample(order, batch)))
        from verl_vip.reporting.records import read_run

        parts = [record.seconds for record in read_run(folder_of(session)).steps[-steps:]]
    print(f"{batch} prompts a step of {pool} known ones, {session.settings.budget.total} rollouts, {steps} steps")
    for name in taken[0]:
        print(f"  {name:<12} {quantiles([part[name] for part in taken])}")
    for name in parts[0]:
        print(f"    {name:<10} {quantiles([part[name] for part in parts])}")
    print(f"  {'all':<12} {quantiles([sum(part.values()) for part in taken])}")


def folder_of(session: Any) -> Path:
    path: Path = session.settings.records_path
    return path


def train(folder: Path, name: str, steps: int, overrides: Sequence[str]) -> Path:
    """Train the demo; returns its log."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    log = target / "train.log"
    command = [
        *(sys.executable, "-m", "verl.trainer.main_ppo"),
        *("--config-path=pkg://verl_vip.recipes", "--config-name=demo"),
        override("demo_dir", str(folder.resolve())),
        override("trainer.default_local_dir", str(target.resolve())),
        *(f"trainer.total_training_steps={steps}", "trainer.save_freq=-1", "trainer.test_freq=-1"),
        *("trainer.val_before_train=False", "trainer.logger=[console]", "trainer.resume_mode=disable"),
        *overrides,
    ]
    with log.open("wb") as output:
        subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_RUN_TIMEOUT_S,
            check=True,
            env={**os.environ, "VERL_PLATFORM": "cpu", "HF_HUB_OFFLINE": "1"},
        )
    return log


def timings(log: Path, name: str) -> list[float]:
    """Seconds of every step but the first, by verl's own clock."""
    found = re.findall(rf" timing_s/{name}:([\d.e+-]+)", log.read_text(errors="replace"))
    return [float(value) for value in found][1:]


def compare_runs(folder: Path, steps: int, overrides: list[str]) -> None:
    from verl_vip.reporting.records import read_run

    logs = {
        "stock": train(folder, "overhead_stock", steps, [*STOCK, *overrides]),
        "ours": train(folder, "overhead_ours", steps, overrides),
    }
    report: dict[str, Any] = {"steps": steps}
    for arm, log in logs.items():
        for name in ("step", "gen", "adv", "update_actor"):
            seconds = timings(log, name)
            report[f"{arm} {name}"] = round(statistics.median(seconds), 4)
            print(f"{arm:<6} {name:<13} {quantiles(seconds)} ({len(seconds)} steps)")
    records = read_run(logs["ours"].parent).steps[1:]
    total = [sum(record.seconds.values()) for record in records]
    added = statistics.median(total) + max(report["ours adv"] - report["stock adv"], 0.0)
    report["added seconds a step"] = round(added, 5)
    report["share of our step"] = round(added / report["ours step"], 5)
    for name in records[0].seconds:
        print(f"ours   {name:<13} {quantiles([record.seconds[name] for record in records])}")
    print(json.dumps(report))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    session = parts.add_parser("session")
    session.add_argument("--pool", type=int, default=17_398)
    session.add_argument("--batch", type=int, default=512)
    session.add_argument("--steps", type=int, default=30)
    run = parts.add_parser("run")
    run.add_argument("--folder", type=Path, default=Path("runs/demo"))
    run.add_argument("--steps", type=int, default=12)
    for part in (session, run):
        part.add_argument("overrides", nargs="*", help="Hydra overrides of the demo recipe")
    arguments = parser.parse_args()
    if arguments.part == "session":
        time_session(arguments.pool, arguments.batch, arguments.steps, arguments.overrides)
    else:
        compare_runs(arguments.folder, arguments.steps, arguments.overrides)


if __name__ == "__main__":
    main()
