"""The session of this process.

verl builds the checkpoint callback, the replay buffer, the rollout manager and the advantage estimators itself, all
in one process, and passes nothing between them. They share one `Session` through this module, which holds the only
process-wide state of verl-vip.
"""

import logging

from omegaconf import DictConfig

from verl_vip.errors import ConfigError
from verl_vip.workers.session.pool_covariates import read_covariates
from verl_vip.workers.session.session import Session
from verl_vip.workers.settings.run_settings import RunSettings

logger = logging.getLogger("verl_vip")

_session: Session | None = None


def open_session(config: DictConfig) -> Session:
    """Check verl's config, then create and restore the session of this process; it replaces an earlier one.

    Raises:
        ConfigError: If a setting is wrong, or the state to resume from is unusable.
        InvalidInputError: If a row of the training data cannot be read as `vip.covariates` needs it.
    """
    global _session  # noqa: PLW0603  (see the module's docstring)
    _log_to_console()
    session = Session(RunSettings.from_verl(config))
    session.restore()
    if (pool := read_covariates(config, session.settings.vip, session.state)) is not None:
        session.use_covariates(pool)
    _session = session
    return session


def _log_to_console() -> None:
    # verl silences everything below WARNING in its driver, and users should see the run's progress.
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("verl-vip: %(message)s"))
        logger.addHandler(handler)


def current_session() -> Session:
    """Return the session of this process.

    Raises:
        ConfigError: If verl's config does not name the checkpoint callback, which opens it.
    """
    if _session is None:
        raise ConfigError(
            "verl-vip's hooks are only partly set: "
            "set trainer.checkpoint_callback_class=verl_vip.workers.checkpoint.PredictorCheckpoint, or add "
            "hydra.searchpath=[pkg://verl_vip.recipes] +vip=rloo, which sets all of them."
        )
    return _session
