"""Reads what is known of the training prompts beforehand, before any model is loaded."""

import logging
from collections.abc import Sequence

from omegaconf import DictConfig

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.covariates import PoolCovariates, Value, values_of
from verl_vip.prediction.identity import fields_of, prompt_id
from verl_vip.workers.session.training_set import rows_to_serve

logger = logging.getLogger("verl_vip")


def read_covariates(config: DictConfig, vip: VipConfig) -> PoolCovariates | None:
    """Standardise the columns that `vip.covariates` names over the whole training set; None if it names none.

    Args:
        config: verl's whole config.
        vip: The settings of the run.

    Raises:
        ConfigError: If a column is in no row, tells nothing, or cannot be a covariate.
        InvalidInputError: If a prompt or a field of its identity has no stable content to hash.
    """
    names = vip.covariates
    if not names:
        return None
    ids: list[str] = []
    pool: dict[str, list[Value]] = {name: [] for name in names}
    for number, row in rows_to_serve(config, None):
        try:
            ids.append(prompt_id(row["raw_prompt"], fields_of(row, vip.identity_fields)))
            for name, value in values_of(row, names).items():
                pool[name].append(value)
        except InvalidInputError as error:
            raise InvalidInputError(f"row {number} of the training data: {error}") from error
    if absent := sorted(name for name, values in pool.items() if all(value is None for value in values)):
        raise ConfigError(
            f"vip.covariates names fields that no row of the training data has: {', '.join(absent)}; correct the names."
        )
    try:
        found = PoolCovariates.fit(pool, ids)
    except InvalidInputError as error:
        raise ConfigError(f"vip.covariates: {error}") from error
    told = ", ".join(_told(name, values) for name, values in pool.items())
    logger.info("covariates of %d training prompts: %s", len(ids), told)
    return found


def _told(name: str, values: Sequence[Value]) -> str:
    texts = {value for value in values if isinstance(value, str)}
    numbers = [value for value in values if isinstance(value, float)]
    kind = f"{len(texts)} groups" if texts else f"numbers from {min(numbers):g} to {max(numbers):g}"
    gaps = sum(value is None for value in values)
    return f"{name} ({kind}, {gaps} missing)" if gaps else f"{name} ({kind})"
