"""Sentence embeddings of prompts, each computed once."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.embedding_cache import EmbeddingCache, content_key
from verl_vip.prediction.embedding_model import DEFAULT_MODEL, resolve_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger("verl_vip")

#: Text given to the model in place of a blank one, so that the rows keep their places.
_STAND_IN = "-"
#: Prompts embedded between two writes to the cache; a kill loses at most these.
_CHUNK = 512
#: More threads do not speed up a small model on the CPU.
_MOST_THREADS = 16


class PromptEmbedder:
    """Embeds prompts with a sentence-transformers model, and caches the embeddings on disk.

    Later runs read a cached embedding back bit for bit, and load the model only if an embedding is missing. A prompt
    longer than the model's window is represented by its *end*: the prompts of a data set often begin with the same
    template or worked examples, and the question follows.

    A causal language model may replace the sentence-transformers model, for example the policy before training. A
    prompt is then represented by the hidden state from which its answer would begin. Language models hold information
    about their own chances of success (Kadavath et al., arXiv 2207.05221).

    A blank text, and a text that the model embeds as zeros, get a neutral vector of `d` equal numbers.

    Args:
        model: A model's name on the Hub or a folder; `resolve_model` says where it is looked up.
        cache_dir: Folder of the caches, one for each model.
        device: Where the model runs. On the CPU it uses torch's threads.
        batch_size: Prompts in one forward pass.

    Raises:
        ConfigError: If the model is a folder that does not exist, or the batch size is not positive.
        StateError: If the cache on disk is damaged.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        cache_dir: Path,
        device: str = "cpu",
        batch_size: int = 32,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size of the embedder must be at least 1; got {batch_size}.")
        self._source = resolve_model(model)
        self._cache = EmbeddingCache(cache_dir / "embeddings" / self._source.key)
        self._device = device
        self._batch_size = batch_size
        self._model: SentenceTransformer | None = None

    @property
    def model_key(self) -> str:
        """The key of the embedding model; see `EmbeddingModel.key`."""
        return self._source.key

    def embed(self, ids: Sequence[str], texts: Sequence[str]) -> Tensor:
        """Return a `B x d` float32 tensor of unit vectors, from the cache where possible.

        Args:
            ids: `B` content hashes from `prompt_id`, at least one.
            texts: `B` texts from `prompt_text`.

        Raises:
            InvalidInputError: If there is no prompt, or not one text for each id.
            StateError: If the cache on disk is damaged.
        """
        keys = _keys(ids, texts)
        self._fill(keys, texts, [key in self._cache for key in keys], progress=False)
        return self._cache.get(keys)

    def embed_pool(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Embed a pool of prompts ahead of time, with a progress bar; the next call resumes an interrupted one.

        Cached embeddings are checked, and embedded again if they have changed on disk.

        Args:
            ids: `Q` content hashes, at least one.
            texts: `Q` texts.

        Raises:
            InvalidInputError: If there is no prompt, or not one text for each id.
        """
        keys = _keys(ids, texts)
        intact = [self._cache.is_intact(key) for key in keys]
        if changed := sum(key in self._cache for key, fine in zip(keys, intact, strict=True) if not fine):
            logger.warning(
                "%d embeddings have changed on disk since they were stored; they are computed again.", changed
            )
        self._fill(keys, texts, intact, progress=True)

    def _fill(self, keys: list[bytes], texts: Sequence[str], cached: list[bool], *, progress: bool) -> None:
        """Embed and store the texts that are not cached."""
        missing = {key: text for key, text, found in zip(keys, texts, cached, strict=True) if not found}
        if missing:
            # Texts of one length share a forward pass, which saves padding.
            order = sorted(missing, key=lambda key: (len(missing[key]), key))
            self._embed_missing(order, [missing[key] for key in order], progress=progress)

    def _embed_missing(self, keys: list[bytes], texts: list[str], *, progress: bool) -> None:
        from tqdm.auto import tqdm

        threads = torch.get_num_threads()
        if progress:
            # Ray gives a driver one thread, and nothing else needs the cores while a pool is embedded.
            torch.set_num_threads(max(threads, min(_MOST_THREADS, len(os.sched_getaffinity(0)) // 2)))
        try:
            with tqdm(total=len(keys), desc="embedding prompts", unit="prompt", disable=not progress) as bar:
                for start in range(0, len(keys), _CHUNK):
                    chunk = slice(start, start + _CHUNK)
                    self._cache.add(keys[chunk], self._encode(texts[chunk]))
                    bar.update(len(keys[chunk]))
        finally:
            torch.set_num_threads(threads)

    def _encode(self, texts: list[str]) -> Tensor:
        blank = torch.tensor([not text.strip() for text in texts])
        filled = [text if text.strip() else _STAND_IN for text in texts]
        vectors = self._load().encode(
            filled, batch_size=self._batch_size, convert_to_tensor=True, show_progress_bar=False
        )
        # Normalised in double precision, because models may end in half precision.
        vectors = vectors.to("cpu", torch.float64)
        # A blank text has no direction, so it gets the neutral vector.
        vectors[blank | (vectors == 0).all(1)] = 1.0
        return torch.nn.functional.normalize(vectors, dim=1).float()

    def _load(self) -> "SentenceTransformer":
        if self._model is None:
            from sentence_transformers import SentenceTransformer
            from sentence_transformers.util import is_sentence_transformer_model

            try:
                self._model = SentenceTransformer(self._source.location, device=self._device)
            except (OSError, ValueError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise ConfigError(f"embedding model {self._source.location} cannot be loaded: {reason}") from error
            tokenizer: Any = self._model.tokenizer
            tokenizer.truncation_side = "left"
            if tokenizer.pad_token is None:  # as in Llama's; padding is masked
                tokenizer.pad_token = tokenizer.eos_token
            if not is_sentence_transformer_model(self._source.location):
                # The library takes a causal model's state at the last token of the chat template. By default it leaves
                # out the tokens that open the answer.
                transformer: Any = self._model[0]
                transformer.processing_kwargs = {"chat_template": {"add_generation_prompt": True}}
        return self._model


def _keys(ids: Sequence[str], texts: Sequence[str]) -> list[bytes]:
    if len(ids) != len(texts) or len(ids) == 0:
        raise InvalidInputError(
            f"give at least one prompt, and one text for each id; got {len(ids)} ids and {len(texts)} texts."
        )
    return [content_key(name, text) for name, text in zip(ids, texts, strict=True)]
