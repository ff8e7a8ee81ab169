"""Builds the small language model that the demo's reinforcement learning starts from.

Run as `python -m verl_vip.recipes.demo.base_model --output DIR`.
"""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from verl_vip.recipes.demo.cache import build_once
from verl_vip.recipes.demo.supervised import TrainSettings, draw_tasks, tokenise, train
from verl_vip.recipes.demo.supervision import RIGHT_RATE
from verl_vip.recipes.demo.tokenizer import CHAT_TEMPLATE, build_tokenizer, instruction_words

_LOG = logging.getLogger(__name__)

#: Raise this when a change of the code changes the model, so that models built earlier are rebuilt.
_VERSION = 4


@dataclass(frozen=True)
class BaseModelSettings:
    """Size and training of the base model. Each attention head is 32 wide, vLLM's minimum on a CPU."""

    hidden_size: int = 128
    intermediate_size: int = 256
    layers: int = 3
    training: TrainSettings = field(default_factory=TrainSettings)

    def fingerprint(self) -> dict[str, Any]:
        """Return all settings that the model depends on."""
        return {"version": _VERSION, "right_rate": RIGHT_RATE, "chat_template": CHAT_TEMPLATE, **asdict(self)}


def _new_model(tokenizer: PreTrainedTokenizerBase, settings: BaseModelSettings) -> Qwen2ForCausalLM:
    """Return an untrained model.

    The initial weights have a standard deviation near `1 / sqrt(hidden_size)`. The library's default of 0.02 suits
    models ten times as wide. At this width it makes attention so flat that copying takes hundreds of steps to learn.
    """
    heads = settings.hidden_size // 32
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            intermediate_size=settings.intermediate_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=heads,
            num_key_value_heads=max(1, heads // 2),
            max_position_embeddings=256,
            rope_theta=200.0,  # positions are below 64; longer wavelengths would not distinguish them
            initializer_range=settings.hidden_size**-0.5,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread: such small matrices gain little from two, and lose much if cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def build_base_model(output: Path, settings: BaseModelSettings | None = None) -> bool:
    """Train the base model and save it with its tokenizer to the folder `output`, unless it exists already.

    `transformers` and vLLM can load the folder: float32 weights, tokenizer, chat template, generation defaults.

    Returns:
        Whether a model was trained.
    """
    settings = settings or BaseModelSettings()

    def build(folder: Path) -> None:
        torch.manual_seed(settings.training.seed)
        tasks = draw_tasks(settings.training)
        tokenizer = build_tokenizer(instruction_words(task.prompt for task in tasks))
        model = _new_model(tokenizer, settings)
        _LOG.info("training %d parameters on %d tasks", model.num_parameters(), len(tasks))
        with _one_thread():
            train(model, tokenise(tasks, tokenizer), settings.training)
        model.generation_config = GenerationConfig(
            do_sample=True,
            temperature=1.0,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return build_once(output, settings.fingerprint(), build)


def main(arguments: list[str] | None = None) -> None:
    """Build the model in the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Train the demo's base model, about two minutes on one core.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model and its tokenizer")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not build_base_model(options.output):
        _LOG.info("%s is up to date", options.output)


if __name__ == "__main__":
    main()
