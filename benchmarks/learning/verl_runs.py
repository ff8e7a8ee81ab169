"""Runs arms of the learning benchmark in verl, with the same base model and prompts, to validate the loop.

    python -m benchmarks.learning.verl_runs uniform --steps 60

`--bench short_answers` chooses another bench. It needs the `cpu` extra. For an arm that draws from a pool, verl's batch
is the pool, and the budget covers a part of it. Accuracy is sampled here, with four answers to each held-out prompt.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.learning.base_model import base_folder
from benchmarks.learning.benches import BENCHES, MAIN
from benchmarks.learning.task_sets import TASK_SETS
from benchmarks.learning.world import draw_tasks
from verl_vip.recipes.demo.dataset import row
from verl_vip.recipes.overrides import override

_STOCK = [
    "actor_rollout_ref.rollout.agent.agent_loop_manager_class=null",
    "trainer.v1.sampler.custom_sampler.path=null",
    "trainer.v1.sampler.custom_sampler.name=null",
    "trainer.checkpoint_callback_class=null",
    "algorithm.adv_estimator=grpo",
]
_COUPLED = ["vip=predicted_baseline", "vip.lower=1", "vip.strategy=prioritized", "+vip.strategy_settings.exponent=1.0"]
#: The preset `vip=prioritized` at the time of these runs.
_DRAWN = [
    "vip=prioritized",
    "vip.lower=1",
    "vip.utility=arcsine",
    "vip.utility_floor=0.2",
    "vip.strategy_settings.even_share=0.0",
]
#: By bench: prompts of verl's batch, prompts of an optimiser step, rollouts per prompt, learning rate, and other
#: overrides. verl's GRPO uses the reward of a group of one as its advantage: REINFORCE without a baseline.
ARMS: dict[str, dict[str, tuple[int, int, int, float, list[str]]]] = {
    "short_answers": {
        "uniform": (16, 16, 1, 1e-3, _STOCK),
        "uniform_rloo": (8, 8, 4, 5e-4, ["vip.strategy=uniform", "vip.lower=2"]),
        "prioritized": (48, 16, 1, 1e-3, [*_COUPLED, "vip.budget=16", "vip.score_coupling=1.0"]),
    },
    "working": {
        "uniform": (16, 16, 1, 1e-3, _STOCK),
        "uniform_rloo": (8, 8, 2, 1e-3, [*_STOCK, "algorithm.adv_estimator=rloo"]),
        "prioritized": (96, 16, 1, 1e-3, [*_DRAWN, "vip.budget=16"]),
    },
    "lopsided": {
        "uniform": (16, 16, 1, 5e-4, _STOCK),
        "uniform_rloo": (16, 16, 4, 1e-3, [*_STOCK, "algorithm.adv_estimator=rloo"]),
        "prioritized": (96, 16, 1, 5e-4, ["vip=prioritized", "vip.lower=1", "vip.budget=16"]),
    },
    "mixture": {
        "uniform": (32, 32, 1, 5e-4, _STOCK),
        "uniform_rloo": (16, 16, 2, 2.5e-4, [*_STOCK, "algorithm.adv_estimator=rloo"]),
        "prioritized": (
            384,
            32,
            1,
            5e-4,
            ["vip=prioritized", "vip.lower=1", "vip.budget=32", "vip.strategy_settings.exponent=4.0"],
        ),
    },
}


def write_inputs(folder: Path, task_set: str) -> None:
    """Write `data/train.parquet` and `data/validation.parquet` of a task set, in verl's format."""
    train, held_out = draw_tasks(task_set)
    rows = [row(task, index) for index, task in enumerate(train + held_out)]
    for each in rows:
        each["extra_info"]["free"] = TASK_SETS[task_set].free
        each["extra_info"]["trailing"] = TASK_SETS[task_set].trailing
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows[: len(train)]), data / "train.parquet")
    pq.write_table(pa.Table.from_pylist(rows[len(train) :]), data / "validation.parquet")


def overrides(bench: str, arm: str, folder: Path, model: Path, steps: int, seed: int) -> list[str]:
    """Return the Hydra overrides of the demo recipe for one run of an arm."""
    batch, prompts, group, rate, others = ARMS[bench][arm]
    # An answer has at most eleven tokens including its end, plus the free letters.
    task_set = TASK_SETS[BENCHES[bench].report_set]
    longest = max(18, task_set.free + task_set.trailing + 12)
    return [
        override("demo_dir", str(folder)),
        override("actor_rollout_ref.model.path", str(model)),
        f"data.train_batch_size={batch}",
        f"data.seed={seed}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={prompts}",
        f"data.max_response_length={longest}",
        f"actor_rollout_ref.rollout.max_model_len={max(80, 48 + longest)}",
        override("reward.custom_reward_function.path", str(Path(__file__).with_name("verl_reward.py"))),
        f"actor_rollout_ref.rollout.n={group}",
        f"actor_rollout_ref.actor.optim.lr={rate}",
        "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum",
        "actor_rollout_ref.rollout.val_kwargs.n=4",
        f"trainer.total_training_steps={steps}",
        "trainer.test_freq=10",
        "trainer.val_before_train=False",
        "trainer.save_freq=-1",
        override("trainer.default_local_dir", str(folder / f"{arm}-seed{seed}")),
        *others,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arm")
    parser.add_argument("--bench", choices=sorted(ARMS), default=MAIN.name)
    parser.add_argument("--cache", type=Path, default=Path("runs/learning"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.arm not in ARMS[options.bench]:
        parser.error(f"arm must be one of {', '.join(ARMS[options.bench])}; got {options.arm}.")
    cache, task_set = options.cache.resolve(), BENCHES[options.bench].report_set
    folder, model = cache / "verl" / options.bench, base_folder(cache, task_set)
    write_inputs(folder, task_set)
    command = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-path=pkg://verl_vip.recipes"]
    command += [
        "--config-name=demo",
        *overrides(options.bench, options.arm, folder, model, options.steps, options.seed),
    ]
    log = folder / f"{options.arm}-seed{options.seed}.jsonl"
    environment = {
        **os.environ,
        "VERL_PLATFORM": "cpu",
        "HF_HUB_OFFLINE": "1",
        "VERL_FILE_LOGGER_PATH": str(log),
    }
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
