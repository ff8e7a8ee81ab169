"""Records the rewards of prompts while the demo's model is trained in one PyTorch process, without verl.

    python benchmarks/record_traces_in_process.py --kind epochs --seed 0 --model runs/demo/model

The base model, prompts, rewards, batch size, temperature, learning rate and estimator are those of the recipe `demo`
(RLOO, equal counts of 8, one AdamW step per batch, gradient clipped at 1). The success probabilities are those of a
real language model, but the training loop is our own, without Ray, vLLM and FSDP. `record_traces.py` records verl.
Writes `benchmarks/traces/torch-KIND-SEED.jsonl.gz`, in the format of `record_traces.py`.
"""

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from verl_vip.recipes.demo.dataset import DatasetSettings, write_dataset
from verl_vip.recipes.demo.reward import compute_score

BATCH, ROLLOUTS, LONGEST_ANSWER = 32, 8, 16
KINDS = {"epochs": (9, 44), "stream": (48, 40)}
TRACES = Path(__file__).parent / "traces"


def batches(rows: list[dict[str, Any]], seed: int) -> Iterator[list[dict[str, Any]]]:
    """Yield batches in a new order each epoch, without an epoch's incomplete last batch, as verl's dataloader does."""
    random = Random(seed)
    while True:
        order = random.sample(rows, len(rows))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            yield order[start : start + BATCH]


class Trainer:
    """A policy and its optimiser.

    Args:
        folder: The folder of the base model.
        seed: Seed of sampling.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=3e-4, weight_decay=0.01)

    def step(self, rows: list[dict[str, Any]]) -> Tensor:
        """Sample and score rollouts, take one step, and return a `B x 8` tensor of rewards."""
        inputs = self._tokenizer.apply_chat_template(
            [row["prompt"] for row in rows],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        start = inputs["input_ids"].shape[1]
        with torch.no_grad():
            tokens = self._model.generate(
                **inputs,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                num_return_sequences=ROLLOUTS,
                max_new_tokens=LONGEST_ANSWER,
            )
        answers = self._tokenizer.batch_decode(tokens[:, start:], skip_special_tokens=True)
        scores = [
            compute_score(row["data_source"], answer, row["reward_model"]["ground_truth"])
            for row, answer in zip([row for row in rows for _ in range(ROLLOUTS)], answers, strict=True)
        ]
        rewards = torch.tensor([float(score["score"] if isinstance(score, dict) else score) for score in scores])
        groups = rewards.view(len(rows), ROLLOUTS)
        advantages = (groups - groups.mean(1, keepdim=True)) * ROLLOUTS / (ROLLOUTS - 1)
        self._update(tokens, inputs["attention_mask"].repeat_interleave(ROLLOUTS, 0), start, advantages.flatten())
        return groups

    def _update(self, tokens: Tensor, prompt_mask: Tensor, start: int, advantages: Tensor) -> None:
        answer = tokens[:, start:]
        ended = (answer == self._tokenizer.eos_token_id).int().cumsum(1)
        mask = ((ended == 0) | ((ended == 1) & (answer == self._tokenizer.eos_token_id))).float()
        attention = torch.cat([prompt_mask, mask.long()], 1)
        useful = advantages != 0
        if not useful.any():
            return
        position = (attention.cumsum(1) - 1).clamp_min(0)[useful]
        output = self._model(input_ids=tokens[useful], attention_mask=attention[useful], position_ids=position)
        logits = output.logits[:, start - 1 : -1]
        log_probability = torch.log_softmax(logits, -1).gather(2, answer[useful][:, :, None])[:, :, 0]
        of_answer = (log_probability * mask[useful]).sum(1) / mask[useful].sum(1)
        loss = -(advantages[useful] * of_answer).sum() / len(advantages)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(KINDS), required=True)
    parser.add_argument("--seed", type=int, default=0, help="seed of the prompts, their order and the sampling")
    parser.add_argument("--model", type=Path, default=Path("runs/demo/model"), help="the demo's base model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    per_cell, steps = KINDS[options.kind]
    with tempfile.TemporaryDirectory() as scratch:
        write_dataset(Path(scratch) / "data", DatasetSettings(train_per_cell=per_cell, seed=options.seed))
        rows = pq.read_table(Path(scratch) / "data" / "train.parquet").to_pylist()
    trainer, stream, lines = Trainer(options.model, options.seed), batches(rows, options.seed), []
    began = time.monotonic()
    for step in range(1, steps + 1):
        batch = next(stream)
        rewards = trainer.step(batch)
        for row, earned in zip(batch, rewards.sum(1).tolist(), strict=True):
            text = row["prompt"][0]["content"]
            visit = {
                "step": step,
                "family": row["data_source"],
                "prompt": text,
                "successes": earned,
                "trials": ROLLOUTS,
            }
            lines.append(json.dumps(visit))
        print(f"step {step}: success {float(rewards.mean()):.3f}, {time.monotonic() - began:.0f} s", flush=True)
    TRACES.mkdir(exist_ok=True)
    target = TRACES / f"torch-{options.kind}-{options.seed}.jsonl.gz"
    target.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
    print(target)


if __name__ == "__main__":
    main()
