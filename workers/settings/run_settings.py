"""The settings of a run, read from verl's config, and the combinations that are refused."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from omegaconf import DictConfig

from verl_vip.allocation.validation import MOST_ROLLOUTS
from verl_vip.annotations import Range
from verl_vip.config import VipConfig
from verl_vip.durable_files import folder_obstacle
from verl_vip.errors import ConfigError
from verl_vip.records.records import RECORDS_FILE
from verl_vip.records.settings import as_json
from verl_vip.strategies.contract import Budget
from verl_vip.workers.settings.trainer_mode import async_notes, async_refusals, batches_ahead, is_async
from verl_vip.workers.settings.update_settings import (
    advantage_estimator,
    divides_by_tokens,
    rows_per_step,
    update_notes,
    update_refusals,
    weighs_rows,
)
from verl_vip.workers.settings.verl_config import VerlConfig

_PROMPTS, _PER_PROMPT = "data.train_batch_size", "actor_rollout_ref.rollout.n"


@dataclass(frozen=True)
class RunSettings:
    """One training run as verl-vip sees it.

    Attributes:
        vip: The recipe's `vip` group, its `objective` set.
        prompts_per_step: Prompts of one training batch, B.
        budget: Rollouts of one training batch, `B * rollout.n` unless `vip.budget` is set, and the bounds per prompt.
        rollout_n: verl's own number of rollouts per prompt.
        validation_n: verl's number of rollouts per validation prompt.
        divides_by_tokens: Whether verl's loss divides by tokens instead of rows.
        notes: Messages about settings that change what the analysis says.
        batches_ahead: Batches that verl samples before it trains on the first of them; 0 in the synchronous trainer.
        kl_in_reward: Whether verl subtracts a KL penalty from the rewards before it computes advantages.
        checkpoint_dir: verl's `trainer.default_local_dir`, absolute.
        save_freq: Steps between checkpoints; not positive when there are none.
        last_step: The last training step, if verl's config sets it.
        estimator: verl's `algorithm.adv_estimator`.
        weighs_rows: Whether that applies the weights of rows; verl's own do not.
        resume_dir: The `global_step_N` folder that verl resumes from, or None for a fresh start.
        plain: The main settings, kept with the run's records.
        config: verl's whole config, resolved.
    """

    vip: VipConfig
    prompts_per_step: int
    budget: Budget
    rollout_n: int
    validation_n: int
    divides_by_tokens: bool
    notes: tuple[str, ...]
    batches_ahead: int
    kl_in_reward: bool
    checkpoint_dir: Path
    save_freq: int
    last_step: int | None
    estimator: str
    weighs_rows: bool
    resume_dir: Path | None
    plain: dict[str, Any]
    config: Mapping[str, Any]

    @property
    def resume_step(self) -> int | None:
        """The step that verl resumes after, or None for a fresh start."""
        return None if self.resume_dir is None else int(self.resume_dir.name.removeprefix("global_step_"))

    @property
    def records_path(self) -> Path:
        """The file of the run's records."""
        return self.checkpoint_dir / RECORDS_FILE

    @classmethod
    def from_verl(cls, config: DictConfig, *, in_job: bool = True) -> "RunSettings":
        """Read and check verl's whole config.

        Args:
            config: verl's whole config.
            in_job: Whether this is the process of the job. In another one, before the job, neither the names of verl's
                own estimators nor the checkpoint to resume from are known, and these are not checked.

        Raises:
            ConfigError: If the `vip` group is missing or wrong, or a setting of verl does not work with verl-vip.
        """
        verl = VerlConfig(config)
        group = verl.value("vip")
        if group is None:
            raise ConfigError(
                "the config has no `vip` group; add hydra.searchpath=[pkg://verl_vip.recipes] +vip=rloo to the command."
            )
        estimator = advantage_estimator(verl, ask_verl=in_job)
        vip = VipConfig.from_mapping(group).following(estimator)
        _refuse_unsupported(verl, vip)
        _require_data(verl)
        prompts, per_prompt = verl.whole(_PROMPTS), verl.whole(_PER_PROMPT)
        total = _budget(verl, vip, prompts * per_prompt)
        checkpoint_dir = Path(os.path.abspath(verl.path("trainer.default_local_dir")))
        return cls(
            vip=vip,
            prompts_per_step=prompts,
            budget=Budget(total=total, lower=vip.lower, upper=vip.upper),
            rollout_n=per_prompt,
            validation_n=verl.whole("actor_rollout_ref.rollout.val_kwargs.n"),
            divides_by_tokens=divides_by_tokens(verl),
            notes=tuple(async_notes(verl) + update_notes(verl, vip, total)),
            batches_ahead=int(batches_ahead(verl)),
            kl_in_reward=verl.flag("algorithm.use_kl_in_reward"),
            checkpoint_dir=checkpoint_dir,
            save_freq=verl.whole("trainer.save_freq", Range()),
            last_step=verl.whole_if_any("trainer.total_training_steps", Range(least=0)),
            estimator=estimator,
            weighs_rows=weighs_rows(estimator),
            resume_dir=_resume_dir(verl, checkpoint_dir) if in_job else None,
            plain=_plain(verl, vip),
            config=verl.plain,
        )


def _refuse_unsupported(config: VerlConfig, vip: VipConfig) -> None:
    batch, chunk = config.whole(_PROMPTS), config.whole_if_any("data.gen_batch_size")
    reward_model = "reward.reward_model"
    refusals = [
        (
            not config.flag("trainer.use_v1"),
            "verl's legacy trainer samples the same number of rollouts for every prompt; set trainer.use_v1=True.",
        ),
        (
            config.flag("algorithm.filter_groups.enable", absent=False),
            "algorithm.filter_groups samples beyond the budget and is ignored by custom replay buffers; "
            "set algorithm.filter_groups.enable=False.",
        ),
        (
            config.flag("trainer.v1.sampler.sync_refill_failed_groups", absent=False),
            "trainer.v1.sampler.sync_refill_failed_groups is ignored by custom replay buffers, and would sample beyond "
            "the budget; set trainer.v1.sampler.sync_refill_failed_groups=False (a failed group has no rows then).",
        ),
        (
            config.flag(f"{reward_model}.enable", absent=False)
            and not config.flag(f"{reward_model}.enable_resource_pool", absent=False),
            "a colocated reward model scores too late for the predictor; "
            "set reward.reward_model.enable_resource_pool=True.",
        ),
        (
            not is_async(config) and chunk not in (None, batch),
            f"data.gen_batch_size={chunk} splits the batch that the budget belongs to; leave data.gen_batch_size=null.",
        ),
    ]
    for message in (
        [message for wrong, message in refusals if wrong] + async_refusals(config) + update_refusals(config, vip)
    ):
        raise ConfigError(message)


def _require_data(config: VerlConfig) -> None:
    # verl and `training_set` read these only after models are loaded.
    config.flag("data.shuffle")
    config.whole_if_any("data.seed", Range())
    config.whole("data.train_max_samples", Range())


def _budget(config: VerlConfig, vip: VipConfig, nominal: int) -> int:
    # verl pads a batch to whole optimiser steps, for the rows that a strategy drops. A budget that is not a multiple
    # of an optimiser step would cost an additional step.
    rows = rows_per_step(config)
    if vip.budget is not None and vip.budget % rows:
        raise ConfigError(
            f"vip.budget={vip.budget} is not a multiple of the {rows} rollouts of an optimiser step "
            "(actor.ppo_mini_batch_size * rollout.n); change one of them."
        )
    total = nominal if vip.budget is None else vip.budget
    if total > MOST_ROLLOUTS:
        raise ConfigError(
            f"{_PROMPTS} times {_PER_PROMPT}, or vip.budget, is {total} rollouts per step, and the limit is "
            f"{MOST_ROLLOUTS}; lower one of them."
        )
    return total


def usable_folder(key: str, path: str | Path) -> Path:
    """Return the absolute path of a folder that can be written to, or can be created.

    Raises:
        ConfigError: If it cannot.
    """
    folder = Path(os.path.abspath(path))
    if obstacle := folder_obstacle(folder):
        raise ConfigError(f"{key}={shortened(str(path))} cannot be used: {obstacle}.")
    return folder


def _resume_dir(config: VerlConfig, checkpoint_dir: Path) -> Path | None:
    # Mirrors PPOTrainer._load_checkpoint, which has no hook for the folder that it selects.
    mode = config.one_of("trainer.resume_mode", ("auto", "disable", "resume_path"))
    if mode == "disable":
        return None
    if mode == "resume_path":
        return _named_checkpoint(config)
    from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

    try:
        latest = find_latest_ckpt_path(str(checkpoint_dir))
    except ValueError as error:  # verl writes its mark in place, so a kill can leave it empty
        raise ConfigError(
            f"verl's mark {checkpoint_dir / 'latest_checkpointed_iteration.txt'} holds no step number; write the step "
            "of the newest complete checkpoint into it (the newest global_step_N folder with a data.pt and a "
            "vip_state.pt), or name that folder with trainer.resume_mode=resume_path."
        ) from error
    return None if latest is None else Path(latest)


def _named_checkpoint(config: VerlConfig) -> Path:
    text = config.value("trainer.resume_from_path")
    # verl reads the step from the end of the path.
    named = isinstance(text, str) and re.fullmatch(r"(.*/)?global_step_[0-9]+", text, re.DOTALL)
    if not named or not os.path.isdir(text):
        raise ConfigError(
            "trainer.resume_mode=resume_path needs an existing checkpoint folder global_step_N as "
            f"trainer.resume_from_path; got {shortened(text)}."
        )
    return Path(os.path.abspath(text))


def _plain(config: VerlConfig, vip: VipConfig) -> dict[str, Any]:
    keys = (
        "actor_rollout_ref.model.path",
        "actor_rollout_ref.rollout.n",
        "actor_rollout_ref.rollout.name",
        "actor_rollout_ref.rollout.temperature",
        "actor_rollout_ref.actor.optim.lr",
        "actor_rollout_ref.actor.strategy",
        "actor_rollout_ref.actor.ppo_mini_batch_size",
        "actor_rollout_ref.actor.loss_agg_mode",
        "algorithm.adv_estimator",
        "data.train_batch_size",
        "data.max_prompt_length",
        "data.max_response_length",
        "data.seed",
        "trainer.nnodes",
        "trainer.n_gpus_per_node",
        "trainer.total_training_steps",
        "trainer.project_name",
        "trainer.experiment_name",
    )
    return {"vip": vip.to_mapping(), **{key: as_json(config.value(key)) for key in keys}}
