"""Reads what is known of the training prompts beforehand, before any model is loaded."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, InvalidInputError, VerlVipError
from verl_vip.prediction.covariates import PoolCovariates, Value, values_of
from verl_vip.prediction.identity import fields_of, prompt_id, prompt_text
from verl_vip.records.earlier_rates import PoolPrompts, earlier_rates
from verl_vip.workers.session.run_state import RunState
from verl_vip.workers.session.training_set import rows_to_serve

logger = logging.getLogger("verl_vip")


def read_covariates(config: DictConfig, vip: VipConfig, state: RunState) -> PoolCovariates | None:
    """Read what is known of the training prompts: the columns of `vip.covariates`, and the rates of `vip.warm_start`.

    Args:
        config: verl's whole config.
        vip: The settings of the run.
        state: The run's state. A resumed run keeps the rates that it was started with.

    Returns:
        The covariates, standardised over the whole training set; None if there are none.

    Raises:
        ConfigError: If a column is in no row, tells nothing, or cannot be a covariate, or if the earlier record cannot
            be read or has none of the prompts.
        InvalidInputError: If a prompt or a field of its identity has no stable content to hash.
    """
    warm_start = _warm_start(vip, state)
    restored = None if state.covariates is None else state.covariates.earlier
    if not vip.covariates and warm_start is None and restored is None:
        return None
    pool, prompts = _read_rows(config, vip)
    try:
        earlier = restored if warm_start is None else _earlier_rates(warm_start, prompts)
        found = PoolCovariates.fit(pool, prompts.ids, earlier)
    except InvalidInputError as error:
        raise ConfigError(f"vip.covariates: {error}") from error
    if told := ", ".join(_told(name, values) for name, values in pool.items()):
        logger.info("covariates of %d training prompts: %s", len(prompts.ids), told)
    return found


def _warm_start(vip: VipConfig, state: RunState) -> Path | None:
    """Return the record to take rates from, which only a new run does."""
    if vip.warm_start is None or state.saved_step is None:
        return None if vip.warm_start is None else Path(vip.warm_start).expanduser()
    if state.covariates is None or state.covariates.earlier is None:
        logger.warning(
            "vip.warm_start has no effect: this run was started without it, and the predictor goes on from the "
            "checkpoint."
        )
    return None


def _earlier_rates(path: Path, prompts: PoolPrompts) -> dict[str, float]:
    try:
        rates = earlier_rates(path, prompts)
    except VerlVipError as error:
        raise ConfigError(f"vip.warm_start: {error}") from error
    known = set(prompts.ids)
    logger.info("earlier success rates of %d of %d training prompts, from %s", len(rates), len(known), path)
    return rates


def _read_rows(config: DictConfig, vip: VipConfig) -> tuple[dict[str, list[Value]], PoolPrompts]:
    """Return the values of each column, and the prompts, row by row."""
    ids: list[str] = []
    wordings: list[str] = []
    texts: list[str] = []
    pool: dict[str, list[Value]] = {name: [] for name in vip.covariates}
    for number, row in rows_to_serve(config, None):
        prompt = row["raw_prompt"]
        try:
            ids.append(prompt_id(prompt, fields_of(row, vip.identity_fields)))
            wordings.append(prompt_id(prompt))
            for name, value in values_of(row, vip.covariates).items():
                pool[name].append(value)
        except InvalidInputError as error:
            raise InvalidInputError(f"row {number} of the training data: {error}") from error
        texts.append(prompt_text(prompt if isinstance(prompt, str) else list(prompt)[-1:]))
    if absent := sorted(name for name, values in pool.items() if all(value is None for value in values)):
        raise ConfigError(
            f"vip.covariates names fields that no row of the training data has: {', '.join(absent)}; correct the names."
        )
    return pool, PoolPrompts(ids, wordings, texts)


def _told(name: str, values: Sequence[Value]) -> str:
    texts = {value for value in values if isinstance(value, str)}
    numbers = [value for value in values if isinstance(value, float)]
    kind = f"{len(texts)} groups" if texts else f"numbers from {min(numbers):g} to {max(numbers):g}"
    gaps = sum(value is None for value in values)
    return f"{name} ({kind}, {gaps} missing)" if gaps else f"{name} ({kind})"
