"""What verl-vip reads from verl's config, and the combinations that it refuses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError
from verl_vip.strategies.contract import Budget
from verl_vip.workers.settings.trainer_mode import async_notes, async_refusals, batches_ahead, is_async
from verl_vip.workers.settings.update_settings import loss_divisor, update_notes, update_refusals

RECORDS_FILE = "vip_records.jsonl"


@dataclass(frozen=True)
class RunSettings:
    """One training run as verl-vip sees it.

    Attributes:
        vip: The recipe's `vip` group.
        prompts_per_step: Prompts of one training batch, B.
        budget: Rollouts of one training batch, `B * rollout.n` if `vip.budget` does not say, and the bounds of one
            prompt.
        rollout_n: verl's own number of rollouts a prompt.
        update_rows: What verl's loss divides a sum over the step's rows by; see `loss_divisor`.
        notes: What the user should know of settings that change what the analysis says.
        batches_ahead: Batches that verl samples before it trains on the first of them; 0 in the synchronous trainer.
        kl_in_reward: Whether verl subtracts a KL penalty from the rewards that advantages are made of.
        checkpoint_dir: verl's `trainer.default_local_dir`, absolute.
        save_freq: Steps between checkpoints; not positive when there are none.
        weighs_rows: Whether the configured advantage estimator is one of ours, which give rows their weights.
        resume_dir: The `global_step_N` folder that verl resumes from, or None for a fresh start.
        plain: The settings worth keeping with the run's records.
        config: verl's whole config, resolved.
    """

    vip: VipConfig
    prompts_per_step: int
    budget: Budget
    rollout_n: int
    update_rows: int | None
    notes: tuple[str, ...]
    batches_ahead: int
    kl_in_reward: bool
    checkpoint_dir: Path
    save_freq: int
    weighs_rows: bool
    resume_dir: Path | None
    plain: dict[str, Any]
    config: Mapping[str, Any]

    @property
    def resume_step(self) -> int | None:
        """The step that verl resumes after, or None for a fresh start."""
        return None if self.resume_dir is None else int(self.resume_dir.name.removeprefix("global_step_"))

    @property
    def last_step(self) -> int | None:
        """The step that verl ends with, where its config says so."""
        steps = self.config["trainer"]["total_training_steps"]
        return steps if isinstance(steps, int) else None

    @property
    def records_path(self) -> Path:
        """The file that the run's records go to."""
        return self.checkpoint_dir / RECORDS_FILE

    @classmethod
    def from_verl(cls, config: DictConfig) -> "RunSettings":
        """Read and check verl's whole config.

        Raises:
            ConfigError: If the `vip` group is missing or wrong, or verl is set to something that verl-vip
                cannot keep its promises with.
        """
        group = OmegaConf.select(config, "vip")
        if group is None:
            raise ConfigError(
                "the config has no `vip` group; add hydra.searchpath=[pkg://verl_vip.recipes] +vip=rloo to the command."
            )
        vip = VipConfig.from_mapping(OmegaConf.to_container(group, resolve=True))
        _refuse_unsupported(config, vip)
        prompts = int(config.data.train_batch_size)
        per_prompt = int(config.actor_rollout_ref.rollout.n)
        _require_whole_steps(config, vip)
        total = prompts * per_prompt if vip.budget is None else vip.budget
        checkpoint_dir = Path(os.path.abspath(config.trainer.default_local_dir))
        return cls(
            vip=vip,
            prompts_per_step=prompts,
            budget=Budget(total=total, lower=vip.lower, upper=vip.upper),
            rollout_n=per_prompt,
            update_rows=loss_divisor(config, total),
            notes=tuple(async_notes(config) + update_notes(config, vip)),
            batches_ahead=int(batches_ahead(config)),
            kl_in_reward=bool(config.algorithm.use_kl_in_reward),
            checkpoint_dir=checkpoint_dir,
            save_freq=int(config.trainer.save_freq),
            weighs_rows=str(config.algorithm.adv_estimator).startswith("vip_"),
            resume_dir=_resume_dir(config, checkpoint_dir),
            plain=_plain(config, vip),
            config=OmegaConf.to_container(config, resolve=True),
        )


def _refuse_unsupported(config: DictConfig, vip: VipConfig) -> None:
    refusals = [
        (
            not config.trainer.use_v1,
            "verl's legacy trainer repeats every prompt the same number of times; set trainer.use_v1=True.",
        ),
        (
            bool(OmegaConf.select(config, "algorithm.filter_groups.enable")),
            "algorithm.filter_groups samples beyond the budget and is ignored by custom replay buffers; "
            "set algorithm.filter_groups.enable=False.",
        ),
        (
            bool(OmegaConf.select(config, "trainer.v1.sampler.sync_refill_failed_groups")),
            "trainer.v1.sampler.sync_refill_failed_groups is ignored by custom replay buffers, and would sample beyond "
            "the budget; set trainer.v1.sampler.sync_refill_failed_groups=False (a failed group has no rows then).",
        ),
        (
            bool(OmegaConf.select(config, "reward.reward_model.enable"))
            and not bool(OmegaConf.select(config, "reward.reward_model.enable_resource_pool")),
            "a colocated reward model scores after the predictor has to learn; "
            "set reward.reward_model.enable_resource_pool=True.",
        ),
        (
            not is_async(config) and config.data.get("gen_batch_size") not in (None, config.data.train_batch_size),
            f"data.gen_batch_size={config.data.get('gen_batch_size')} splits the batch that the budget belongs to; "
            "leave data.gen_batch_size=null.",
        ),
    ]
    for message in (
        [message for wrong, message in refusals if wrong] + async_refusals(config) + update_refusals(config, vip)
    ):
        raise ConfigError(message)


def _require_whole_steps(config: DictConfig, vip: VipConfig) -> None:
    # verl pads a batch to whole optimiser steps. Rows that a strategy leaves out are padded for; a budget that is
    # itself no whole number of them would cost a step that nobody asked for.
    rows = int(config.actor_rollout_ref.actor.ppo_mini_batch_size) * int(config.actor_rollout_ref.rollout.n)
    if vip.budget is not None and vip.budget % rows:
        raise ConfigError(
            f"vip.budget={vip.budget} is not a multiple of the {rows} rollouts of an optimiser step "
            "(actor.ppo_mini_batch_size * rollout.n); change one of them."
        )


def _resume_dir(config: DictConfig, checkpoint_dir: Path) -> Path | None:
    # Mirrors PPOTrainer._load_checkpoint, which offers no hook for the folder it chose.
    mode = config.trainer.resume_mode
    if mode == "disable":
        return None
    if mode == "resume_path":
        return Path(os.path.abspath(config.trainer.resume_from_path))
    from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

    try:
        latest = find_latest_ckpt_path(str(checkpoint_dir))
    except ValueError as error:  # verl writes its mark in place, so that a kill can leave it empty
        raise ConfigError(
            f"verl's mark {checkpoint_dir / 'latest_checkpointed_iteration.txt'} holds no step number; write the step "
            "of the newest complete checkpoint into it (the newest global_step_N folder with a data.pt and a "
            "vip_state.pt), or name that folder with trainer.resume_mode=resume_path."
        ) from error
    return None if latest is None else Path(latest)


def _plain(config: DictConfig, vip: VipConfig) -> dict[str, Any]:
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
    return {"vip": vip.to_mapping(), **{key: OmegaConf.select(config, key) for key in keys}}
