"""Keeps the predictor's state in verl's checkpoint folders (`trainer.checkpoint_callback_class`)."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback

from verl_vip.workers.advantage import register_with_verl  # registers the library's own in verl's driver
from verl_vip.workers.session.current import current_session, open_session
from verl_vip.workers.settings.update_settings import is_of_another_package


class PredictorCheckpoint(CheckpointCallback):  # type: ignore[misc]
    """Opens the session and saves it.

    verl creates this callback first and passes it the whole config. Wrong settings are therefore refused here, within
    seconds and before any model is loaded.
    """

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config=config)
        settings = open_session(config).settings
        if is_of_another_package(settings.estimator):
            register_with_verl(settings.estimator)

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
