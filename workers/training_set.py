"""The prompts of the training set, read as verl reads them, and embedded before the first step."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from omegaconf import DictConfig
from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
from verl.utils.config import omega_conf_to_dataclass

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import prompt_id, prompt_text

logger = logging.getLogger("verl_vip")


def embed_training_set(config: DictConfig, embedder: PromptEmbedder, steps: int | None) -> None:
    """Embed every prompt that a run will serve, so that a step need only look its prompts up; with a progress bar.

    Args:
        config: verl's whole config.
        embedder: The session's.
        steps: The training step that verl ends with; None if unknown.
    """
    began = time.perf_counter()
    texts: dict[str, str] = {}
    for prompt in prompts_to_serve(config, steps):
        # What cannot be embedded is refused when verl serves it.
        with suppress(InvalidInputError):
            texts[prompt_id(prompt)] = prompt_text(prompt)
    if texts:
        embedder.embed_pool(list(texts), list(texts.values()))
    logger.info("embeddings of %d training prompts at hand after %.1f s", len(texts), time.perf_counter() - began)


def prompts_to_serve(config: DictConfig, steps: int | None) -> Iterator[Any]:
    """Yield the chat messages of the training set, as verl's dataset class builds them.

    verl shows its own dataset and the order in which it goes through it to no hook; both are made again in the same
    way. A run that ends within the first epoch serves its beginning, which is known beforehand if `data.seed` is set
    or nothing is shuffled.

    Args:
        config: verl's whole config.
        steps: The training step that verl ends with; None if unknown.
    """
    data = config.data
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    limit = data.get("train_max_samples", -1)
    dataset = create_rl_dataset(
        data.train_files, data, model.tokenizer, model.processor, is_train=True, max_samples=limit
    )
    rows: Iterable[int] = range(len(dataset))
    if steps is not None and (data.get("seed") is not None or not data.shuffle):
        rows = islice(create_rl_sampler(data, dataset), steps * int(data.train_batch_size))
    for row in rows:
        yield dataset[int(row)]["raw_prompt"]
