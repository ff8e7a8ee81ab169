"""A loaded task set: training and evaluation prompts with tokens, identities and embeddings."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from benchmarks.learning.base_model import base_folder
from benchmarks.learning.policy import Policy
from benchmarks.learning.rollouts import PromptTokens
from benchmarks.learning.task_sets import TASK_SETS, TaskSet, written
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import prompt_id, prompt_text
from verl_vip.recipes.demo.tasks import Task, distinct_tasks

_TRAIN_PER_CELL = 60
_HELD_OUT_PER_CELL = 6


@dataclass(frozen=True)
class TaskWorld:
    """The data and base model that all runs on a task set share.

    Attributes:
        folder: The folder of the base model.
        train: Tokens of the training prompts.
        prompts: Identities and embeddings of the training prompts.
        held_out: Tokens of the evaluation prompts; none is a training prompt.
        cells: Family and difficulty of each evaluation prompt.
    """

    folder: Path
    train: PromptTokens
    prompts: Prompts
    held_out: PromptTokens
    cells: list[tuple[str, int]]

    def policy(self) -> Policy:
        """Return a new copy of the base model."""
        return Policy.load(self.folder)


def draw_tasks(name: str) -> tuple[list[Task], list[Task]]:
    """Return a set's shuffled training tasks, and its held-out tasks by family and difficulty. They share no prompt."""
    task_set, train, held_out = TASK_SETS[name], list[Task](), list[Task]()
    for family in task_set.families:
        count = _TRAIN_PER_CELL * task_set.copies.get(family.name, 1)
        for difficulty in range(1, len(family.levels) + 1):
            cell = distinct_tasks(family, difficulty, _HELD_OUT_PER_CELL + count, seed=0)
            if family.name not in task_set.beyond:
                held_out += cell[:_HELD_OUT_PER_CELL]
            train += cell[_HELD_OUT_PER_CELL:]
    Random(0).shuffle(train)
    return train, held_out


def load_world(root: Path, task_set: str) -> TaskWorld:
    """Load everything from the folder `root`, and build missing parts."""
    folder = base_folder(root, task_set)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train, held_out = draw_tasks(task_set)
    messages = [[{"role": "user", "content": task.prompt}] for task in train]
    ids = [prompt_id(message) for message in messages]
    embedder = PromptEmbedder(cache_dir=root)
    embeddings = embedder.embed(ids, [prompt_text(message) for message in messages])
    return TaskWorld(
        folder,
        _tokenise(train, TASK_SETS[task_set], tokenizer),
        Prompts(tuple(ids), embeddings),
        _tokenise(held_out, TASK_SETS[task_set], tokenizer),
        [(task.family, task.difficulty) for task in held_out],
    )


def _tokenise(tasks: list[Task], task_set: TaskSet, tokenizer: PreTrainedTokenizerBase) -> PromptTokens:
    user, assistant = tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
    prompts = [[user, *tokenizer(task.prompt)["input_ids"], assistant] for task in tasks]
    answers = [tokenizer(written(task.answer, task_set))["input_ids"] for task in tasks]
    if not task_set.trailing:
        answers = [[*answer, tokenizer.eos_token_id] for answer in answers]
    pad = tokenizer.pad_token_id

    def padded(rows: list[list[int]]) -> torch.Tensor:
        width = max(map(len, rows))
        return torch.tensor([row + [pad] * (width - len(row)) for row in rows])

    def lengths(rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor([len(row) for row in rows])

    return PromptTokens(
        padded(prompts), lengths(prompts), padded(answers), lengths(answers), pad, tokenizer.eos_token_id,
        task_set.free, task_set.trailing,
    )  # fmt: skip
