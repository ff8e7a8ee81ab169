"""The public records of real models: what each group of rollouts earned, and when.

They are not part of this project. Download them into one folder, with or without subfolders.

- `acc_step_500.json` and `dsr_sub.parquet` are from repository ypwang61/One-Shot-RLVR at commit 21ed529 (Apache-2.0):
  `data/acc_step_500.json` and `data/train/one_shot_rlvr/dsr_sub.parquet`. They record a GRPO run of Qwen2.5-Math-1.5B
  in verl: 500 steps of 128 prompts with 8 rollouts each, over a pool of 1,209 prompts. The first file maps
  `extra_info.index` of the second to the prompt's accuracy at each of its visits.
- `deepscaler_counts.parquet`, for `new_prompts.py` only, has one row for each prompt of the five files
  `verl/data/deepscaler_*_train.parquet` of repository uscnlp-lime/verl at commit bf2dd7e (Apache-2.0). Its columns are
  `prompt` (text) and `successes`, a list of how many of 128 rollouts of Qwen2.5-Math-7B succeeded, as
  `extra_info.difficulty` says.

Traps:

- The steps of the visits are not stored. `place` assumes that visit i of L, counted from 0, took place near step
  `500 (i + u) / L`, with an independent u in [0, 1) for each visit.
- A prompt has between 44 and 57 visits, some prompts more than the run has epochs: the order was drawn anew at some
  point, and the rest of an epoch that did not fill a batch was left out.
- It is one run with one seed. Intervals over prompts and placements do not cover other runs.
- The second record is not a random sample of its source. Some prompts have several counts, which are added up.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import fields_of, prompt_id, prompt_text

STEPS, BATCH, ROLLOUTS = 500, 128, 8
#: Rollouts behind each count of the second record.
RATED = 128
#: What the run's two files have in common.
INDEX = "extra_info.index"


@dataclass(frozen=True)
class RecordedRun:
    """A run, prompt by prompt.

    Attributes:
        prompts: The `P` prompts of the pool.
        successes: For each prompt an int64 tensor: successes of `ROLLOUTS` rollouts at each visit, in order.
        texts: The `P` texts, if they were read.
    """

    prompts: Prompts
    successes: tuple[Tensor, ...]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placement:
    """The visits of a record as the batches of `S` steps; each tensor is `S x B`.

    Attributes:
        prompt: Rows of `RecordedRun.prompts`, all different within a step.
        visit: The number of the prompt's visit, from 0.
        successes: Successes of `ROLLOUTS` rollouts, float64.
    """

    prompt: Tensor
    visit: Tensor
    successes: Tensor


def read_run(folder: Path, embedder: PromptEmbedder) -> RecordedRun:
    """Read the record of the training run.

    Args:
        folder: Holds `acc_step_500.json` and `dsr_sub.parquet`.
        embedder: Embeds the prompts.

    Raises:
        InvalidInputError: If a file is missing or damaged, or they do not belong together.
    """
    path = _find(folder, "acc_step_500.json")
    accuracies = _load(path, lambda: json.loads(path.read_text()))
    if not isinstance(accuracies, dict) or not accuracies:
        raise InvalidInputError(f"{path} does not map indices to lists of accuracies; download it again.")
    texts = {str(fields_of(row, [INDEX])[INDEX]): row["prompt"] for row in _rows(folder, "dsr_sub.parquet")}
    if texts.keys() != accuracies.keys():
        raise InvalidInputError(
            f"dsr_sub.parquet has {len(texts)} prompts and {path.name} accuracies of {len(accuracies)}, "
            f"{len(texts.keys() & accuracies.keys())} of them the same; take both files from the same commit."
        )
    messages = [texts[index] for index in accuracies]
    ids = [prompt_id(message) for message in messages]
    wordings = tuple(prompt_text(message) for message in messages)
    vectors = embedder.embed(ids, wordings)
    counts = tuple(_counts(values, f"{path.name}, prompt {index}") for index, values in accuracies.items())
    return RecordedRun(Prompts(tuple(ids), vectors), counts, wordings)


def read_rates(folder: Path) -> tuple[list[str], Tensor]:
    """Read the second record: texts of prompts, in alphabetical order, and a float64 tensor of their success rates.

    Raises:
        InvalidInputError: If the file is missing or damaged.
    """
    name = "deepscaler_counts.parquet"
    rates: dict[str, float] = {}
    for row in _rows(folder, name):
        counts = torch.as_tensor(row.get("successes"), dtype=torch.float64) if row.get("successes") else torch.ones(0)
        if not len(counts) or not ((counts >= 0) & (counts <= RATED)).all():
            raise InvalidInputError(f"{name} has a prompt without counts between 0 and {RATED}; make the file again.")
        rates[row["prompt"]] = float(counts.mean()) / RATED
    texts = sorted(rates)
    return texts, torch.tensor([rates[text] for text in texts], dtype=torch.float64)


def place(record: RecordedRun, seed: int, batch: int = BATCH, steps: int = STEPS) -> Placement:
    """Place all visits on the steps of a run; see the module's docstring for the assumption.

    A prompt is at most once in a batch: a repeated visit waits for the next one. The few visits that are left at the
    end and do not fill a batch are dropped.

    Args:
        record: The run.
        seed: Seed of the u.
        batch: Prompts in a step.
        steps: Length of the run, in steps.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([len(visits) for visits in record.successes])
    prompt = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    visit = torch.cat([torch.arange(length) for length in lengths.tolist()])
    time = steps * (visit + torch.rand(len(visit), generator=generator, dtype=torch.float64)) / lengths[prompt]
    rows = _batches(time.argsort(stable=True).tolist(), prompt.tolist(), batch)
    index = torch.tensor(rows).reshape(-1, batch)
    return Placement(prompt[index], visit[index], torch.cat(record.successes)[index].double())


def _batches(order: list[int], prompt: list[int], batch: int) -> list[list[int]]:
    """Cut an order of visits into batches of different prompts, and keep the order of each prompt's visits."""
    stream = iter(order)
    waiting: list[int] = []
    batches: list[list[int]] = []
    while True:
        rows: list[int] = []
        members: set[int] = set()
        later: list[int] = []
        while len(rows) < batch:
            row = waiting.pop(0) if waiting else next(stream, None)
            if row is None:
                return batches
            if prompt[row] in members:
                later.append(row)
            else:
                rows.append(row)
                members.add(prompt[row])
        batches.append(rows)
        waiting = later + waiting


def _find(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is not a folder; --data names the one with the downloaded records.")
    found = sorted(folder.rglob(name))
    if not found:
        raise InvalidInputError(
            f"{name} is not in {folder}; download it from the repository that benchmarks/real_records/record.py names."
        )
    if len(found) > 1:
        raise InvalidInputError(f"{folder} has {name} {len(found)} times; leave one of them.")
    return found[0]


def _load(path: Path, read: Callable[[], Any]) -> Any:
    # UnicodeDecodeError, JSONDecodeError and pyarrow's ArrowInvalid are ValueErrors.
    try:
        return read()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); download it again.") from error


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow.parquet

    path = _find(folder, name)
    rows: list[dict[str, Any]] = _load(path, lambda: pyarrow.parquet.read_table(path).to_pylist())
    if not rows or "prompt" not in rows[0]:
        raise InvalidInputError(f"{path} has no prompts; download it again.")
    return rows


def _counts(values: Any, where: str) -> Tensor:
    """Turn accuracies into successes, an int64 tensor."""
    if not isinstance(values, list) or not values or not all(isinstance(value, int | float) for value in values):
        raise InvalidInputError(f"{where}: not a list of accuracies; download the file again.")
    successes = ROLLOUTS * torch.tensor(values, dtype=torch.float64)
    if not ((successes >= 0) & (successes <= ROLLOUTS) & (successes == successes.round())).all():
        raise InvalidInputError(f"{where}: an accuracy is not a multiple of 1/{ROLLOUTS} between 0 and 1.")
    return successes.long()
