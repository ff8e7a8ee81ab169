"""Keeps the predictor's state in verl's checkpoint folders (`trainer.checkpoint_callback_class`)."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback

from verl_vip.workers import advantage  # noqa: F401  (registers the estimators in verl's driver)
from verl_vip.workers.session.current import current_session, open_session


class PredictorCheckpoint(CheckpointCallback):  # type: ignore[misc]
    """Opens the session and saves it.

    verl creates this callback first and passes it the whole config. Wrong settings are therefore refused here, within
    seconds and before any model is loaded.
    """

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config=config)
        open_session(config)

    def on_save(
        self,
        trainer: Any,  # noqa: ARG002
        global_step: int,
        checkpoint_dir: str,
        async_save: bool = False,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Write the state to the checkpoint folder, unless that was done before verl marked the checkpoint."""
        current_session().save(Path(checkpoint_dir), global_step)
