"""A loaded task set: training and evaluation prompts with tokens, identities and embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        labels: By kind, a label for each training prompt: its "family"; or its "source", which is "own", "repeated" (a
            family with copies) or "beyond" (its answers cannot be known).
        beyond: Tokens of evaluation prompts of the families whose answers cannot be known; None if there are none.
        shares: The share of the training pool that each prompt of `held_out` and then of `beyond` stands for.
    """

    folder: Path
    train: PromptTokens
    prompts: Prompts
    held_out: PromptTokens
    cells: list[tuple[str, int]]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beyond: PromptTokens | None = None
    shares: torch.Tensor | None = None

    def policy(self) -> Policy:
        """Return a new copy of the base model."""
        return Policy.load(self.folder)


def draw_tasks(name: str) -> tuple[list[Task], list[Task]]:
    """Return a set's shuffled training tasks, and its held-out tasks by family and difficulty. They share no prompt."""
    task_set, train, held_out = TASK_SETS[name], list[Task](), list[Task]()
    for family in task_set.families:
        count = task_set.per_cell * task_set.copies.get(family.name, 1)
        for difficulty in range(1, len(family.levels) + 1):
            cell = distinct_tasks(family, difficulty, _HELD_OUT_PER_CELL + count, seed=0)
            apart = [task for task in cell if not task_set.hides(task)][:_HELD_OUT_PER_CELL]
            if family.name not in task_set.beyond:
                held_out += apart
            train += [task for task in cell if task not in apart]
    Random(0).shuffle(train)
    return train, held_out


def draw_beyond(name: str) -> list[Task]:
    """Return held-out tasks of the families whose answers cannot be known; none is a training task."""
    task_set = TASK_SETS[name]
    return [
        task
        for family in task_set.families
        if family.name in task_set.beyond
        for difficulty in range(1, len(family.levels) + 1)
        for task in distinct_tasks(family, difficulty, _HELD_OUT_PER_CELL, seed=0)
    ]


def labels_of(tasks: list[Task], task_set: TaskSet) -> dict[str, tuple[str, ...]]:
    """Return the labels of tasks by kind; see `TaskWorld.labels`."""

    def source(family: str) -> str:
        return "beyond" if family in task_set.beyond else "repeated" if family in task_set.copies else "own"

    return {"family": tuple(task.family for task in tasks), "source": tuple(source(task.family) for task in tasks)}


def load_world(root: Path, task_set: str) -> TaskWorld:
    """Load everything from the folder `root`, and build missing parts."""
    folder = base_folder(root, task_set)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train, held_out = draw_tasks(task_set)
    messages = [[{"role": "user", "content": task.prompt}] for task in train]
    ids = [prompt_id(message) for message in messages]
    embedder = PromptEmbedder(cache_dir=root)
    embeddings = embedder.embed(ids, [prompt_text(message) for message in messages])
    chosen, beyond = TASK_SETS[task_set], draw_beyond(task_set)
    copies = torch.tensor([chosen.copies.get(task.family, 1) for task in (*held_out, *beyond)], dtype=torch.float64)
    return TaskWorld(
        folder,
        _tokenise(train, chosen, tokenizer),
        Prompts(tuple(ids), embeddings),
        _tokenise(held_out, chosen, tokenizer),
        [(task.family, task.difficulty) for task in held_out],
        labels_of(train, chosen),
        _tokenise(beyond, chosen, tokenizer) if beyond else None,
        copies / copies.sum(),
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
