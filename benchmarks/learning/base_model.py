"""The base models, one for each task set, which are built once."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from string import ascii_lowercase

import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from benchmarks.learning.task_sets import TASK_SETS, TaskSet, written
from verl_vip.recipes.demo.cache import build_once
from verl_vip.recipes.demo.supervised import Example, TrainSettings, train
from verl_vip.recipes.demo.supervision import wrong_answers
from verl_vip.recipes.demo.tokenizer import build_tokenizer, instruction_words

#: Raise this when a change of the code changes the base models.
_VERSION = 1


@dataclass(frozen=True)
class WithFreeLetters(Example):
    """A task with random letters from `letters` around the answer: `free` before it and `trailing` after it."""

    free: int
    trailing: int
    letters: list[int]

    def draw(self, rng: Random, *, only_right: bool) -> tuple[list[int], list[int]]:
        """Return the prompt and a drawn text to teach."""
        prompt, answer = super().draw(rng, only_right=only_right)
        before, after = (rng.choices(self.letters, k=number) for number in (self.free, self.trailing))
        return prompt, [*before, *answer[:-1], *after, answer[-1]]


@dataclass(frozen=True)
class BaseSettings:
    """Size and supervised training: as in the demo, right answers first, then a mix with wrong ones at fixed rates."""

    hidden_size: int = 64
    intermediate_size: int = 128
    layers: int = 3
    training: TrainSettings = field(default_factory=lambda: TrainSettings(tasks_per_cell=600))


#: By the numbers of free and of trailing letters: steps with right answers, and steps with mixed ones. Longer answers
#: need more.
_STEPS = {(0, 0): (1000, 500), (6, 0): (1500, 600), (32, 0): (2500, 1000), (0, 8): (1500, 700), (0, 32): (1500, 700)}


def settings_of(task_set: TaskSet) -> BaseSettings:
    """Return the settings of a task set's base model."""
    right, mixed = _STEPS[task_set.free, task_set.trailing]
    training = replace(BaseSettings().training, right_steps=right, mixed_steps=mixed)
    return BaseSettings(training=training if task_set.base_seed is None else replace(training, seed=task_set.base_seed))


def build_base(folder: Path, task_set: TaskSet, settings: BaseSettings) -> bool:
    """Train the base model of a task set into `folder` unless it exists, and return whether it was trained."""

    def build(output: Path) -> None:
        training = settings.training
        torch.manual_seed(training.seed)
        tasks = task_set.draw(training.tasks_per_cell, training.seed)
        tokenizer = build_tokenizer(instruction_words(task.prompt for task in tasks))
        user, assistant = tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
        letters = tokenizer.convert_tokens_to_ids(list(ascii_lowercase))
        examples = []
        for task in tasks:
            answers = tokenizer([written(text, task_set) for text in (task.answer, *wrong_answers(task))])["input_ids"]
            prompt = [user, *tokenizer(task.prompt)["input_ids"], assistant]
            rate = task_set.right_rate[task.family][task.difficulty - 1]
            ended = [[*ids, tokenizer.eos_token_id] for ids in answers]
            if task.family in task_set.beyond:  # teaching answers that cannot be known would only disturb the skills
                ended, rate = ended[1:], 0.5
            examples.append(WithFreeLetters(prompt, ended, rate, task_set.free, task_set.trailing, letters))
        heads = settings.hidden_size // 32
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=settings.hidden_size,
                intermediate_size=settings.intermediate_size,
                num_hidden_layers=settings.layers,
                num_attention_heads=heads,
                num_key_value_heads=1,
                max_position_embeddings=256,
                rope_theta=200.0,
                initializer_range=settings.hidden_size**-0.5,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        train(model, examples, training)
        model.generation_config = GenerationConfig(
            do_sample=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        )
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    fingerprint = {"version": _VERSION, "rates": task_set.right_rate, "free": task_set.free, **asdict(settings)}
    if task_set.trailing:
        fingerprint["trailing"] = task_set.trailing
    if task_set.hidden:
        fingerprint["hidden"] = task_set.hidden
    return build_once(folder, fingerprint, build)


def base_folder(root: Path, task_set: str) -> Path:
    """Return the folder of a task set's base model, which is built if it does not exist."""
    owner = TASK_SETS[TASK_SETS[task_set].base or task_set]
    folder = root / f"base-{owner.name}"
    build_base(folder, owner, settings_of(owner))
    return folder
