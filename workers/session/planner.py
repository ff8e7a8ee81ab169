"""Decides how many rollouts each prompt of a batch gets, before sampling."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, IntegrationError
from verl_vip.prediction.contract import Covariates, Prompts
from verl_vip.prediction.covariates import values_of
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import fields_of, label_of, prompt_id, prompt_text
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.step import Step
from verl_vip.workers.session.outcomes import Plan, Stopwatch
from verl_vip.workers.session.run_state import RunState
from verl_vip.workers.settings.run_settings import RunSettings, usable_folder

logger = logging.getLogger("verl_vip")


class Planner:
    """Identifies prompts, predicts their success and gets counts from the strategy.

    Args:
        settings: The checked settings of the run.

    Attributes:
        embedder: Turns prompts into vectors.

    Raises:
        ConfigError: If the embedding model does not exist, or its cache folder cannot be used.
    """

    def __init__(self, settings: RunSettings) -> None:
        vip = settings.vip
        self._settings = settings
        self._warned_of_repetition = False
        cache = usable_folder("vip.cache_dir", vip.cache_path)
        try:
            self.embedder = PromptEmbedder(vip.embedding_model, cache_dir=cache)
        except ConfigError as error:
            raise ConfigError(f"vip.embedding_model: {error}") from error

    def plan(
        self,
        state: RunState,
        *,
        step: int,
        uids: Sequence[str],
        messages: Sequence[Any],
        labels: Sequence[str],
        tasks: Sequence[Mapping[str, Any]] = (),
    ) -> Plan:
        """Plan one batch with the run's predictor and strategy.

        Args:
            state: The run's predictor and strategy; the strategy's state advances.
            step: The training step that takes the batch.
            uids: `B` uids, drawn by verl.
            messages: `B` chat prompts, each a list of messages.
            labels: `B` data sources.
            tasks: `B` rows of the data set with the columns that `vip.task_fields` names; not needed if that is empty.

        Raises:
            IntegrationError: If the strategy broke the budget, or the training set was not read for `vip.covariates`.
        """
        watch = Stopwatch()
        wordings = [prompt_id(message) for message in messages]
        ids, fields = tuple(wordings), self._settings.vip.identity_fields
        if fields:
            ids = tuple(
                prompt_id(*both) for both in zip(messages, (fields_of(task, fields) for task in tasks), strict=True)
            )
        self._warn_of_repetition(step, ids)
        balance_by = self._settings.vip.label_field
        groups = None if balance_by is None else tuple(label_of(task, balance_by) for task in tasks)
        embeddings = self.embedder.embed(wordings, [prompt_text(message) for message in messages])
        prompts = Prompts(ids, embeddings, groups, self._covariates(state, ids, tasks))
        watch.lap("embed")
        prediction = replace(state.predictor.predict(prompts), reward_scale=_reward_scales(self._settings.vip, labels))
        watch.lap("predict")
        nominal = self._settings.budget
        total = nominal.total * len(ids) // self._settings.prompts_per_step
        budget = Budget(total=total, lower=nominal.lower, upper=nominal.upper)
        name = self._settings.vip.strategy
        rounds = Step(state.strategy, prompts, prediction, budget, name=name)
        watch.lap("allocate")
        return Plan(step, name, list(uids), list(labels), prompts, prediction, budget, rounds, watch.seconds)

    def _covariates(self, state: RunState, ids: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> Covariates | None:
        names = self._settings.vip.covariates
        if state.covariates is None:
            if names:
                raise IntegrationError("vip.covariates is set, but the training set was not read; use `open_session`.")
            return None
        return state.covariates(ids, [values_of(task, names) for task in tasks] if names else [{} for _ in ids])

    def _warn_of_repetition(self, step: int, ids: Sequence[str]) -> None:
        repeated = len(ids) - len(set(ids))
        if repeated and not self._warned_of_repetition:
            self._warned_of_repetition = True
            logger.warning(
                "step %d: %d of %d prompts repeat another prompt of the batch. Each has a count of its own; they "
                "share one prediction, and their rewards are pooled. This warning is given once per run.",
                step,
                repeated,
                len(ids),
            )


def _reward_scales(vip: VipConfig, sources: Sequence[str]) -> Tensor | None:
    if not vip.reward_range_by_source:
        return None
    ranges = torch.tensor([vip.range_of(source) for source in sources], dtype=torch.float64)
    return ranges[:, 1] - ranges[:, 0]
