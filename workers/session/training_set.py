"""The prompts of the training set, read as verl reads them and embedded before the first step."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from omegaconf import DictConfig
from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
from verl.utils.config import omega_conf_to_dataclass

from verl_vip.annotations import Range
from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import fields_of, label_of, prompt_id, prompt_text
from verl_vip.workers.settings.verl_config import VerlConfig

logger = logging.getLogger("verl_vip")

_TRUTH = "reward_model.ground_truth"
#: The most rows that a message lists.
_NAMED = 10


def embed_training_set(
    config: DictConfig,
    embedder: PromptEmbedder,
    steps: int | None,
    identity_fields: Sequence[str] = (),
    label_field: str | None = None,
) -> None:
    """Embed all prompts that a run will train on, with a progress bar; a step then only looks its embeddings up.

    Logs which prompts have no text, and how many share their text with a prompt of another ground truth.

    Args:
        config: verl's whole config.
        embedder: The session's embedder.
        steps: The last training step; None if unknown.
        identity_fields: `vip.identity_fields`.
        label_field: `vip.balance_by`, if the strategy draws evenly over labels.

    Raises:
        ConfigError: If a field of `vip.identity_fields` is in no row, or all rows have the same label.
        InvalidInputError: If a prompt or a field of its identity has no stable content to hash.
    """
    began = time.perf_counter()
    pool = _Pool(identity_fields, label_field)
    for number, row in rows_to_serve(config, steps):
        try:
            pool.add(number, row)
        except InvalidInputError as error:
            raise InvalidInputError(f"row {number} of the training data: {error}") from error
    pool.report()
    if pool.texts:
        embedder.embed_pool(list(pool.texts), list(pool.texts.values()))
    logger.info("embedded %d training prompts in %.1f s", len(pool.texts), time.perf_counter() - began)


def rows_to_serve(config: DictConfig, steps: int | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the numbers and rows of the training set that a run trains on, as verl's dataset class builds them.

    No hook has access to verl's dataset or sampler, so both are created again in the same way. A run that ends within
    the first epoch needs only its first batches. They are known if `data.seed` is set or the data are not shuffled.

    Args:
        config: verl's whole config.
        steps: The last training step; None if unknown.
    """
    data, read = config.data, VerlConfig(config)
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    limit = read.whole("data.train_max_samples", Range())
    dataset = create_rl_dataset(
        data.train_files, data, model.tokenizer, model.processor, is_train=True, max_samples=limit
    )
    rows: Iterable[int] = range(len(dataset))
    if steps is not None and (read.value("data.seed") is not None or not read.flag("data.shuffle")):
        rows = islice(create_rl_sampler(data, dataset), steps * read.whole("data.train_batch_size"))
    for row in rows:
        yield int(row), dataset[int(row)]


class _Pool:
    """Collects the prompts of a training set.

    Args:
        identity_fields: `vip.identity_fields`.
        label_field: The field whose values are counted, if any.

    Attributes:
        texts: The text to embed, by the id of the prompt's messages.
    """

    def __init__(self, identity_fields: Sequence[str], label_field: str | None) -> None:
        self.texts: dict[str, str] = {}
        self._fields = tuple(identity_fields)
        self._absent = set(identity_fields)
        self._label_field = label_field
        self._labels: Counter[str] = Counter()
        self._blank: list[int] = []
        self._wordings, self._tasks = _Truths(), _Truths()

    def add(self, number: int, row: Mapping[str, Any]) -> None:
        """Add a row; raises `InvalidInputError` if its prompt has no identity."""
        prompt = row["raw_prompt"]
        wording, text = prompt_id(prompt), prompt_text(prompt)
        self.texts[wording] = text
        if not text.strip():
            self._blank.append(number)
        fields = fields_of(row, self._fields)
        self._absent -= {name for name, value in fields.items() if value is not None}
        if self._label_field is not None:
            self._labels[label_of(row, self._label_field)] += 1
        truth = ""
        with suppress(InvalidInputError):
            truth = prompt_id(None, fields_of(row, [_TRUTH]))
        self._wordings.add(wording, truth)
        if self._fields:
            self._tasks.add(prompt_id(prompt, fields), truth)

    def report(self) -> None:
        """Log prompts without text and shared texts; `ConfigError` if a field of the identity is in no row."""
        if self._absent and self.texts:
            raise ConfigError(
                "vip.identity_fields names fields that no row of the training data has: "
                f"{', '.join(sorted(self._absent))}; correct the names."
            )
        if self._label_field is not None and self.texts:
            self._report_labels()
        if self._blank:
            more = f" and {len(self._blank) - _NAMED} more" if len(self._blank) > _NAMED else ""
            logger.warning(
                "%d training prompts have no text to embed: rows %s%s of the training data, counted from 0. They get a "
                "neutral embedding and are predicted from their own rollouts.",
                len(self._blank),
                ", ".join(map(str, self._blank[:_NAMED])),
                more,
            )
        if shared := self._wordings.num_shared:
            self._report_shared_texts(shared, self._tasks.num_shared if self._fields else shared)

    def _report_labels(self) -> None:
        if len(self._labels) == 1:
            raise ConfigError(
                f"every training prompt has the label {next(iter(self._labels))!r} in {self._label_field}, so there is "
                "nothing to balance; set vip.balance_by to another field, or vip.strategy=balanced_clusters."
            )
        named = ", ".join(f"{label or 'none'!r} {count}" for label, count in self._labels.most_common(_NAMED))
        more = f" and {len(self._labels) - _NAMED} more" if len(self._labels) > _NAMED else ""
        logger.info("labels of the training prompts (vip.balance_by=%s): %s%s", self._label_field, named, more)

    def _report_shared_texts(self, shared: int, pooled: int) -> None:
        text = f"{shared} training prompts share their text with a prompt of another ground truth"
        if not pooled:
            logger.info("%s; vip.identity_fields distinguishes them.", text)
            return
        logger.warning(
            "%s. %d of them have the same identity as another: they share one prediction, and their rewards are "
            "pooled. vip.identity_fields=[%s] distinguishes them.",
            text,
            pooled,
            ",".join([*self._fields, _TRUTH]),
        )


class _Truths:
    """Counts the rows whose key occurs with several ground truths."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._several: set[str] = set()

    def add(self, key: str, truth: str) -> None:
        self._rows[key] += 1
        if self._first.setdefault(key, truth) != truth:
            self._several.add(key)

    @property
    def num_shared(self) -> int:
        return sum(self._rows[key] for key in self._several)
