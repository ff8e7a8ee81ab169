"""Reads raw rewards when verl collects a batch, and updates the predictor (`trainer.v1.sampler.custom_sampler`)."""

import time
from collections.abc import Collection
from typing import Any

import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.utils import tensordict_utils

from verl_vip.errors import IntegrationError
from verl_vip.workers.session.current import current_session
from verl_vip.workers.session.sampled_rows import SampledRows, own_accuracy, require_single_outputs


class Observer(ReplayBuffer):  # type: ignore[misc]
    """verl's replay buffer, which also passes the rewards of each prompt group to the session.

    It sees rewards before verl applies a KL penalty or adds padding, so neither enters the statistics. A training
    step takes exactly the prompts that were planned for it, even if others are finished. If the strategy samples in
    several rounds, they all take place here, while the rollout servers are awake. verl gets the rows that the
    strategy keeps.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, poll_interval=current_session().settings.vip.poll_seconds)
        self._awaited: frozenset[str] = frozenset()

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        """Collect a batch as verl does, observe it, and add the `vip/*` metrics to the step's metrics.

        Args:
            global_steps: The current training step.
            partition_id: "train" or "val".
            batch_size: The number of prompt groups to wait for.

        Raises:
            IntegrationError: If verl did not sample as planned, every rollout failed, or a rollout has several rows.
            InvalidInputError: If a training reward is outside its range.
        """
        session = current_session()
        if partition_id != "train":
            rows, metrics, _ = self._collect(global_steps, partition_id, batch_size)
            session.observe_validation(step=global_steps, rollouts=rows.rollouts)
            return rows.batch(partition_id), metrics
        step = session.training_step(global_steps)
        if len(step.uids) != batch_size:
            raise IntegrationError(
                f"verl trains on {batch_size} prompts in step {global_steps}, and {len(step.uids)} were planned for "
                "it; another component adds or drops prompts."
            )
        rows, metrics, seconds = self._collect_prompts(global_steps, step.uids)
        further = step.receive(rows.rollouts, seconds)
        round_number = 1
        while further:
            round_number += 1
            prompt_of = session.sample_further(further, round_number)
            latest, more, seconds = self._collect_prompts(global_steps, prompt_of)
            latest = latest.renamed(prompt_of)
            _write_uids(latest)
            rows, metrics = rows + latest, {**metrics, **more}
            further = step.receive(latest.rollouts, seconds)
        kept = step.select()
        if kept is not None:
            rows, dropped = rows.split(kept)
            if dropped.keys:
                tq.kv_clear(keys=dropped.keys, partition_id=partition_id)
        return rows.batch(partition_id), {**metrics, **step.observe()}

    def _sampleable_terminal_keys(self, partition_id: str, eviction_reasons: Any) -> set[str]:
        found: set[str] = super()._sampleable_terminal_keys(partition_id, eviction_reasons)
        if partition_id != "train":
            return found
        # Every prompt that verl knows is in one of these sets. It would wait forever for a prompt in none of them.
        known = found.union(self.pending_keys[partition_id], self.running_keys[partition_id])
        if lost := self._awaited - known:
            raise IntegrationError(
                f"verl's replay buffer lost {len(lost)} of {len(self._awaited)} prompts that were planned together; "
                "resume from the last checkpoint."
            )
        return found & self._awaited

    def _collect_prompts(self, step: int, uids: Collection[str]) -> tuple[SampledRows, dict[str, Any], float]:
        """Wait for these training prompts only, and return as `_collect` does."""
        self._awaited = frozenset(uids)
        return self._collect(step, "train", len(uids))

    def _collect(self, step: int, partition_id: str, num_groups: int) -> tuple[SampledRows, dict[str, Any], float]:
        """Wait for prompt groups; return their rows in the order sampled, verl's metrics, and the seconds to read."""
        batch, metrics = super().sample(global_steps=step, partition_id=partition_id, batch_size=num_groups)
        if not batch.keys:
            raise IntegrationError(
                f"every rollout of the {partition_id} batch of step {step} failed; the agent-loop workers' errors are "
                "in the log above."
            )
        require_single_outputs(batch.keys)
        began = time.perf_counter()
        names = ["rm_scores", "uid"]
        if partition_id != "train":
            names.append("extra_fields")
        fields = tq.kv_batch_get(keys=batch.keys, partition_id=partition_id, select_fields=names)
        extra = fields.get("extra_fields").tolist() if partition_id != "train" else []
        rows = SampledRows(
            keys=list(batch.keys),
            tags=list(batch.tags),
            uids=[str(uid) for uid in fields["uid"]],
            rewards=[float(scores.sum()) for scores in fields["rm_scores"].unbind()],
            accuracies=[own_accuracy(noted) for noted in extra],
        )
        return rows.in_order(), metrics, time.perf_counter() - began


def _write_uids(rows: SampledRows) -> None:
    # verl's advantage estimators group rows by this field. Now all rounds of a prompt are one group.
    fields = tensordict_utils.get_tensordict({"uid": rows.uids})
    tq.kv_batch_put(keys=rows.keys, partition_id="train", fields=fields)
