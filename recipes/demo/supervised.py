"""Supervised training of the base model on the demo's tasks, in plain PyTorch."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from verl_vip.recipes.demo.families import FAMILIES
from verl_vip.recipes.demo.supervision import RIGHT_RATE, wrong_answers
from verl_vip.recipes.demo.tasks import Task

_LOG = logging.getLogger(__name__)
_IGNORED = -100


@dataclass(frozen=True)
class Example:
    """One tokenised task: the prompt, and the answers that can be taught, the right one first."""

    prompt: list[int]
    answers: list[list[int]]
    right_rate: float

    def draw(self, rng: Random, *, only_right: bool) -> tuple[list[int], list[int]]:
        """Return the prompt and a drawn answer to teach."""
        if only_right or len(self.answers) == 1 or rng.random() < self.right_rate:
            return self.prompt, self.answers[0]
        return self.prompt, rng.choice(self.answers[1:])


@dataclass(frozen=True)
class TrainSettings:
    """Settings of the supervised training.

    Attributes:
        tasks_per_cell: Tasks drawn from each family at each difficulty.
        seed: Seed of the tasks, the batches and the weights.
        batch_size: Tasks per step.
        right_steps: Steps on right answers only, which teach the skills.
        mixed_steps: Later steps on right and wrong answers, which lower the success rates again.
        matrix_learning_rate: Muon's peak rate, for the layers' matrices.
        learning_rate: AdamW's peak rate, for embeddings and norms.
    """

    tasks_per_cell: int = 600
    seed: int = 1
    batch_size: int = 64
    right_steps: int = 450
    mixed_steps: int = 200
    matrix_learning_rate: float = 0.015
    learning_rate: float = 0.003


def draw_tasks(settings: TrainSettings) -> list[Task]:
    """Return the tasks that the base model is taught. Their seed differs from that of the RL prompts."""
    return [
        task
        for family in FAMILIES
        for difficulty in range(1, len(family.levels) + 1)
        for task in islice(family.stream(difficulty, settings.seed), settings.tasks_per_cell)
    ]


def tokenise(tasks: list[Task], tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    """Return the tasks as token ids: prompts in the chat template, and answers with the end token."""
    user, assistant = tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
    prompts = tokenizer([task.prompt for task in tasks])["input_ids"]
    examples = []
    for task, prompt in zip(tasks, prompts, strict=True):
        answers = tokenizer([task.answer, *wrong_answers(task)])["input_ids"]
        rate = RIGHT_RATE[task.family][task.difficulty - 1]
        examples.append(
            Example([user, *prompt, assistant], [[*answer, tokenizer.eos_token_id] for answer in answers], rate)
        )
    return examples


def _batches(examples: list[Example], settings: TrainSettings) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield token ids and labels, both `batch x length`. Tasks of similar length share a batch, which saves padding."""
    rng = Random(settings.seed)
    step = 0
    while True:
        chosen = rng.sample(examples, min(len(examples), 8 * settings.batch_size))
        chosen.sort(key=lambda example: len(example.prompt) + len(example.answers[0]))
        groups = [chosen[i : i + settings.batch_size] for i in range(0, len(chosen), settings.batch_size)]
        rng.shuffle(groups)
        for group in groups:
            rows = [example.draw(rng, only_right=step < settings.right_steps) for example in group]
            yield _pad(rows)
            step += 1


def _pad(rows: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), _IGNORED)
    for i, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        tokens[i, :end] = torch.tensor(prompt + answer)
        labels[i, len(prompt) : end] = torch.tensor(answer)
    return tokens, labels


def _optimizers(model: Qwen2ForCausalLM, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    """Return Muon for the layers' matrices, where it needs far fewer steps, and AdamW for the other weights."""
    matrices = [p for name, p in model.model.layers.named_parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(matrices, lr=settings.matrix_learning_rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(model: Qwen2ForCausalLM, examples: list[Example], settings: TrainSettings) -> None:
    """Train the model in place by next-token prediction of the answers."""
    optimizers = _optimizers(model, settings)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    total = settings.right_steps + settings.mixed_steps
    started, report = time.monotonic(), max(1, total // 10)
    model.train()
    for step, (tokens, labels) in enumerate(islice(_batches(examples, settings), total), start=1):
        scale = min(1.0, step / 30) * (1.0 - 0.98 * step / total)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = scale * peak
        targets = labels[:, 1:]
        taught = targets != _IGNORED
        hidden = model.model(input_ids=tokens).last_hidden_state[:, :-1]
        loss = functional.cross_entropy(model.lm_head(hidden[taught]), targets[taught])
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if step % report == 0:
            seconds = time.monotonic() - started
            _LOG.info("step %d of %d, loss %.2f, %.0f s", step, total, loss.item(), seconds)
    model.eval()
