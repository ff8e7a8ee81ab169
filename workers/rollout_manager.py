"""Writes each prompt's rollout count before sampling (`rollout.agent.agent_loop_manager_class`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import transfer_queue as tq
from tensordict import TensorDict
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ
from verl.utils import tensordict_utils

from verl_vip.errors import ConfigError
from verl_vip.workers.compatibility.liveness import Liveness
from verl_vip.workers.sampling.seeded_agent import ROUND_FIELD
from verl_vip.workers.session.current import current_session
from verl_vip.workers.session.training_set import embed_training_set

#: The field from which verl's agent-loop worker takes the number of rollouts of a prompt.
COUNT_FIELD = "__rollout_n__"


class RolloutManager(AgentLoopManagerTQ):  # type: ignore[misc]
    """verl's agent-loop manager with a count for every training prompt.

    This is done in the manager because a worker sees only a chunk of the batch, and the budget is for all of it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batch: TensorDict | None = None
        self._row_of: dict[str, int] = {}
        # Before it creates a manager, verl writes the number of training steps to its own config.
        last_step = self.config.actor_rollout_ref.actor.optim.total_training_steps
        steps = int(last_step) if last_step and last_step > 0 else None
        session = current_session()
        session.start(last_step=steps, sampler=self.sample_further, in_flight=_restored_prompts())
        if session.settings.vip.embed_at_start:
            vip = session.settings.vip
            embed_training_set(
                self.config, session.planner.embedder, steps, vip.identity_fields, label_field=vip.label_field
            )

    async def _init_agent_loop_workers(self) -> None:
        await super()._init_agent_loop_workers()
        Liveness(self.agent_loop_workers).start()

    def generate_sequences(self, prompts: TensorDict) -> None:
        """Plan the counts of training prompts, or note the prompts of a validation batch, and start sampling.

        Args:
            prompts: One row per prompt: a batch, or several batches that `colocate_async` samples ahead.
        """
        session = current_session()
        fields = set(prompts.keys())
        uids = [str(uid) for uid in prompts["uid"]]
        labels = [str(label) for label in prompts["data_source"]] if "data_source" in fields else [""] * len(uids)
        if "validate" in fields:
            nominal = session.settings.validation_n
            samples = [int(n) for n in prompts[COUNT_FIELD]] if COUNT_FIELD in fields else [nominal] * len(uids)
            session.expect_validation(uids, labels, samples)
        else:
            counts = session.plan(
                step=int(prompts["global_steps"]),
                uids=uids,
                messages=list(prompts["raw_prompt"]),
                labels=labels,
                tasks=_columns(prompts, session.settings.vip.task_fields),
            )
            tensordict_utils.assign_non_tensor_stack(prompts, COUNT_FIELD, counts)
            self._batch, self._row_of = prompts, {uid: row for row, uid in enumerate(uids)}
        super().generate_sequences(prompts)

    def sample_further(self, counts: Mapping[str, int], round_number: int) -> dict[str, str]:
        """Start another round of sampling for prompts of the last training batch.

        verl numbers the rollouts of a group from zero and forgets a collected group. Each prompt of a further round
        is therefore a new group to verl.

        Args:
            counts: Rollouts of each prompt, by uid; at least one.
            round_number: 2 for the first further round.

        Returns:
            For the uid of each new group, the uid of its prompt.
        """
        assert self._batch is not None, "a further round follows a batch"
        batch = tensordict_utils.index_select_tensor_dict(self._batch, [self._row_of[uid] for uid in counts])
        prompt_of = {f"{uid}-{round_number}": uid for uid in counts}
        tensordict_utils.assign_non_tensor_stack(batch, "uid", list(prompt_of))
        tensordict_utils.assign_non_tensor_stack(batch, COUNT_FIELD, list(counts.values()))
        tensordict_utils.assign_non_tensor_stack(batch, ROUND_FIELD, [round_number] * len(counts))
        tag = {"is_prompt": True, "status": "pending", "global_steps": int(batch["global_steps"])}
        tq.kv_batch_put(keys=list(prompt_of), partition_id="train", tags=[dict(tag) for _ in prompt_of])
        super().generate_sequences(batch)
        return prompt_of


def _columns(prompts: TensorDict, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return for each row the columns that contain the fields with these dotted names; an empty list without names."""
    columns = {name.partition(".")[0] for name in names}
    if absent := columns - set(prompts.keys()):
        raise ConfigError(
            "vip.identity_fields, vip.balance_by and vip.covariates name columns that are not in the training data: "
            f"{sorted(absent)}."
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*(prompts[name] for name in columns), strict=True)]


def _restored_prompts() -> list[str]:
    # When verl creates a manager, it has loaded its checkpoint and submitted no prompts yet.
    restored = tq.kv_list("train") or {}
    return [key for key, tag in restored.get("train", {}).items() if tag.get("is_prompt", False)]
