"""Records the rewards of prompts while verl trains on them with equal counts.

    python benchmarks/record_traces.py --kind epochs --seed 0 --folder runs/traces

Trains the demo's model with the recipe `demo` (verl, vLLM, FSDP2) and writes `benchmarks/traces/KIND-SEED.jsonl.gz`.
In an "epochs" recording, 378 prompts are seen four times; in a "stream" recording, no prompt is seen twice. Every
prompt gets 8 rollouts at each visit, so the recording does not depend on any prediction. An interrupted recording
continues from its last checkpoint when it is started again. It needs the CPU environment;
`benchmarks/prediction_on_traces.py`, which replays the traces, does not.
"""

import argparse
import gzip
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from verl_vip.prediction.identity import prompt_id, prompt_text
from verl_vip.recipes.demo.base_model import build_base_model
from verl_vip.recipes.demo.dataset import DatasetSettings, write_dataset
from verl_vip.recipes.demo.training import Training
from verl_vip.recipes.overrides import override
from verl_vip.records.records import read_run

TRACES = Path(__file__).parent / "traces"


@dataclass(frozen=True)
class Kind:
    """The number of prompts of each family at each difficulty, and the number of steps of 32 prompts."""

    train_per_cell: int
    steps: int


KINDS = {"epochs": Kind(train_per_cell=9, steps=44), "stream": Kind(train_per_cell=48, steps=40)}


def train(kind: Kind, seed: int, folder: Path, models: Path) -> Path:
    """Train, and return the run's folder.

    Raises:
        SystemExit: If verl fails; the end of its output is printed before.
    """
    write_dataset(folder / "data", DatasetSettings(train_per_cell=kind.train_per_cell, seed=seed))
    build_base_model(models / "model")
    overrides = [
        "vip.strategy=uniform",
        "vip.predictor=moving_average",
        override("actor_rollout_ref.model.path", str(models / "model")),
        f"data.seed={seed}",
        f"trainer.total_training_steps={kind.steps}",
        "trainer.save_freq=2",
        "trainer.test_freq=-1",
        "trainer.val_before_train=false",
        "trainer.max_actor_ckpt_to_keep=1",
    ]
    training = Training(folder, overrides)
    status = training.run()
    if status:
        raise SystemExit(status)
    return training.run_folder


def write_trace(run_folder: Path, data: Path, target: Path) -> int:
    """Write one line for each visit, in the order of training, and return the number of lines."""
    texts = {
        prompt_id(row["prompt"]): (prompt_text(row["prompt"]), row["data_source"])
        for row in pq.read_table(data / "train.parquet").to_pylist()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in read_run(run_folder).steps:
        for name, won, tried in zip(step.ids, step.successes, step.observed, strict=True):
            text, family = texts[name]
            visit = {"step": step.step, "family": family, "prompt": text, "successes": round(won, 6), "trials": tried}
            lines.append(json.dumps(visit))
    # A fixed time stamp, so that equal traces are equal files.
    target.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
    return len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(KINDS), required=True)
    parser.add_argument("--seed", type=int, default=0, help="seed of the prompts and of their order")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/traces"), help="folder for models, checkpoints and records"
    )
    parser.add_argument("--as-is", action="store_true", help="do not train; write what has been recorded so far")
    options = parser.parse_args()
    name = f"{options.kind}-{options.seed}"
    models = options.folder.resolve()
    if options.as_is:
        run_folder = models / name / "uniform"
    else:
        run_folder = train(KINDS[options.kind], options.seed, models / name, models)
    count = write_trace(run_folder, models / name / "data", TRACES / f"{name}.jsonl.gz")
    print(f"{count} visits in {TRACES / name}.jsonl.gz")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    main()
