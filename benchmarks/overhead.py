"""The time that verl-vip adds to a training step.

    python benchmarks/overhead.py session [--pool 17398 384000] [--batch 512] [--threads 2] [--json]
    python benchmarks/overhead.py run --folder runs/demo [--steps 12]

`session` times the parts of one whole step of verl-vip in this process: the real session, embeddings from the cache on
disk, the recipe's predictor and strategy, metrics, records on disk, and the advantages of every row. Only the sentence
encoder is left out, because it runs once per prompt. All prompts of the pool have been seen before. The pools take
turns, so that other load on the machine affects all of them. The fastest and the median step are steps between two fits
of the hyper-parameters; "slowest" includes a fit. Ratios are ratios of medians.

`run` trains the demo twice on the same prompts and the same total of rollouts: once with stock verl's fixed count and
its own estimator, and once with verl-vip. It compares the steps by verl's own clock. The first step of each run is left
out, because vLLM warms up in it. `make demo` prepares the input. The stock replay buffer looks for finished rollouts
every two seconds and verl-vip's looks more often, so verl-vip's step may be shorter. Its cost is listed beside it.

Absolute times depend on the machine and its load.
"""

import argparse
import contextlib
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
RESULTS = Path(__file__).parent / "results" / "step_cost.json"


def quantiles(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return f"median {1000 * statistics.median(ordered):7.2f} ms, slowest {1000 * ordered[-1]:7.2f} ms"


def open_session(folder: Path, batch: int, overrides: list[str]) -> Any:
    """Return a started session of the demo recipe with larger batches and random vectors as embeddings."""
    from hydra import compose, initialize_config_module

    from verl_vip.prediction.embedding import PromptEmbedder
    from verl_vip.workers.session.session import Session
    from verl_vip.workers.settings.run_settings import RunSettings

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
    """Take one step over the given prompts of the pool, and return the seconds of its parts."""
    from verl_vip.workers.advantage import row_advantages
    from verl_vip.workers.session.outcomes import Rollouts

    uids = [f"{step}/{prompt}" for prompt in prompts]
    messages = [[{"role": "user", "content": f"prompt number {prompt} of the pool"}] for prompt in prompts]
    began = time.perf_counter()
    counts = session.plan(step=step, uids=uids, messages=messages, labels=["pool"] * len(uids))
    planned = time.perf_counter()
    rows = [uid for uid, count in zip(uids, counts, strict=True) for _ in range(count)]
    chance = {uid: (prompt % 11) / 10 for uid, prompt in zip(uids, prompts, strict=True)}
    rewards = [float(random.random() < chance[uid]) for uid in rows]
    sampled = time.perf_counter()
    taken = session.training_step(step)
    taken.receive(Rollouts(rows, rewards, [_RESPONSE_LENGTH] * len(rows)))
    taken.select()
    metrics = taken.observe()
    observed = time.perf_counter()
    row_advantages(torch.tensor(rewards), rows, session.update_terms, estimator="rloo", rows=len(rows))
    done = time.perf_counter()
    parts = {"plan": planned - began, "receive and observe": observed - sampled, "advantages": done - observed}
    inner = {name.removeprefix("vip/seconds/"): value for name, value in metrics.items() if "/seconds/" in name}
    return {**parts, **{f"  {name}": value for name, value in inner.items()}, "all": sum(parts.values())}


class PoolSession:
    """A session of the demo recipe that has seen every prompt of a pool once."""

    def __init__(self, folder: Path, size: int, batch: int, overrides: list[str]) -> None:
        self.order, self.batch, self.taken, self.step = list(range(size)), batch, list[dict[str, float]](), 0
        self.session = open_session(folder, batch, overrides)
        for start in range(0, size, batch):
            self.step += 1
            take_step(self.session, self.step, self.order[min(start, size - batch) :][:batch])

    def take(self) -> None:
        self.step += 1
        self.taken.append(take_step(self.session, self.step, random.sample(self.order, self.batch)))

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Return the milliseconds of each part of a step: fastest, median and slowest."""
        found = {}
        for name in self.taken[0]:
            values = [1000 * step.get(name, 0.0) for step in self.taken]
            kinds = {"fastest": min(values), "median": statistics.median(values), "slowest": max(values)}
            found[name.strip()] = {kind: round(value, 3) for kind, value in kinds.items()}
        return found


def time_session(sizes: list[int], batch: int, steps: int, overrides: list[str], *, write: bool) -> None:
    logging.getLogger("verl_vip").setLevel(logging.ERROR)
    random.seed(0)
    torch.manual_seed(0)
    with contextlib.ExitStack() as folders:
        pools = {}
        for size in sizes:
            folder = folders.enter_context(tempfile.TemporaryDirectory(prefix="verl_vip_overhead_"))
            pools[size] = PoolSession(Path(folder), size, batch, overrides)
        for _ in range(steps):
            for pool in pools.values():
                pool.take()
        budget = next(iter(pools.values())).session.settings.budget.total
    found = {size: pool.milliseconds() for size, pool in pools.items()}
    print(f"{batch} prompts and {budget} rollouts a step, {steps} steps, {torch.get_num_threads()} threads")
    for size, parts in found.items():
        print(f"  {size:,} known prompts")
        for name, part in parts.items():
            ratio = part["median"] / max(found[sizes[0]][name]["median"], 1e-9)
            times = ", ".join(f"{kind} {value:8.2f}" for kind, value in part.items())
            print(f"    {name:<22} {times} ms ({ratio:4.2f})")
    if write:
        result = {"threads": torch.get_num_threads(), "batch": batch, "rollouts": budget, "steps": steps, "ms": found}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def train(folder: Path, name: str, steps: int, overrides: Sequence[str]) -> Path:
    """Train the demo, and return its log."""
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
    """Return the seconds of every step but the first, by verl's own clock."""
    found = re.findall(rf" timing_s/{name}:([\d.e+-]+)", log.read_text(errors="replace"))
    return [float(value) for value in found][1:]


def compare_runs(folder: Path, steps: int, overrides: list[str]) -> None:
    from verl_vip.records.records import read_run

    logs = {
        "stock": train(folder, "overhead_stock", steps, [*STOCK, *overrides]),
        "verl-vip": train(folder, "overhead_verl_vip", steps, overrides),
    }
    report: dict[str, Any] = {"steps": steps}
    for arm, log in logs.items():
        for name in ("step", "gen", "adv", "update_actor"):
            seconds = timings(log, name)
            report[f"{arm} {name}"] = round(statistics.median(seconds), 4)
            print(f"{arm:<8} {name:<13} {quantiles(seconds)} ({len(seconds)} steps)")
    records = read_run(logs["verl-vip"].parent).steps[1:]
    total = [sum(record.seconds.values()) for record in records]
    added = statistics.median(total) + max(report["verl-vip adv"] - report["stock adv"], 0.0)
    report["added seconds a step"] = round(added, 5)
    report["share of the step"] = round(added / report["verl-vip step"], 5)
    for name in records[0].seconds:
        print(f"verl-vip {name:<13} {quantiles([record.seconds[name] for record in records])}")
    print(json.dumps(report))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    session = parts.add_parser("session")
    session.add_argument("--pool", type=int, nargs="+", default=[17_398, 384_000])
    session.add_argument("--batch", type=int, default=512)
    session.add_argument("--steps", type=int, default=32)
    session.add_argument("--threads", type=int, default=2)
    session.add_argument("--json", action="store_true", help=f"write {RESULTS.name} as well")
    run = parts.add_parser("run")
    run.add_argument("--folder", type=Path, default=Path("runs/demo"))
    run.add_argument("--steps", type=int, default=12)
    for part in (session, run):
        part.add_argument("--overrides", nargs="*", default=[], help="Hydra overrides of the demo recipe")
    arguments = parser.parse_args()
    if arguments.part == "session":
        torch.set_num_threads(arguments.threads)
        time_session(arguments.pool, arguments.batch, arguments.steps, arguments.overrides, write=arguments.json)
    else:
        compare_runs(arguments.folder, arguments.steps, arguments.overrides)


if __name__ == "__main__":
    main()
