"""The rows that verl's agent loops put into TransferQueue, in the order sampled."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from transfer_queue import KVBatchMeta

from verl_vip.errors import IntegrationError
from verl_vip.workers.session.outcomes import Rollouts

#: Keys of `reward_extra_info` that show that the scorer returned a dictionary, or that it failed.
_SCORERS_OWN = frozenset({"score", "timeout", "error"})


@dataclass(frozen=True)
class SampledRows:
    """`N` rows with verl's keys, `{uid}_{rollout}_{output}`.

    Attributes:
        keys: Keys in TransferQueue.
        tags: verl's tag of each row.
        uids: The uid of each row's prompt.
        rewards: The scorer's rewards; NaN or infinite if it failed without an error.
        accuracies: See `Rollouts`; empty, or one for each row.
    """

    keys: list[str]
    tags: list[dict[str, Any]]
    uids: list[str]
    rewards: list[float]
    accuracies: list[float | None] = field(default_factory=list)

    def __add__(self, later: "SampledRows") -> "SampledRows":
        """Return these rows followed by later ones."""
        return SampledRows(
            self.keys + later.keys,
            self.tags + later.tags,
            self.uids + later.uids,
            self.rewards + later.rewards,
            self.accuracies + later.accuracies,
        )

    @property
    def rollouts(self) -> Rollouts:
        """The rows as the session takes them."""
        tokens = [int(tag["response_len"]) for tag in self.tags]
        return Rollouts(self.uids, self.rewards, tokens, self.accuracies)

    def in_order(self) -> "SampledRows":
        """Return the rows sorted by prompt and rollout number; TransferQueue guarantees no order."""
        return self._take(sorted(range(len(self.keys)), key=lambda row: _place(self.keys[row])))

    def renamed(self, prompt_of: Mapping[str, str]) -> "SampledRows":
        """Return the rows of a further round with the uids of their prompts instead of those of its groups."""
        return replace(self, uids=[prompt_of[uid] for uid in self.uids])

    def split(self, kept: Mapping[str, Sequence[int]]) -> tuple["SampledRows", "SampledRows"]:
        """Return the kept rows and the dropped rows.

        Args:
            kept: Positions among a prompt's rows with a finite reward, by uid; rows without one are dropped.
        """
        chosen = {(uid, position) for uid, positions in kept.items() for position in positions}
        seen: dict[str, int] = {}
        kept_rows: list[int] = []
        dropped_rows: list[int] = []
        for row, uid in enumerate(self.uids):
            is_scored = math.isfinite(self.rewards[row])
            position = seen.get(uid, 0)
            seen[uid] = position + is_scored
            (kept_rows if is_scored and (uid, position) in chosen else dropped_rows).append(row)
        return self._take(kept_rows), self._take(dropped_rows)

    def batch(self, partition_id: str) -> KVBatchMeta:
        """Return the rows in the form that verl's trainer takes."""
        return KVBatchMeta(partition_id=partition_id, keys=self.keys, tags=self.tags)

    def _take(self, rows: Sequence[int]) -> "SampledRows":
        return SampledRows(
            [self.keys[row] for row in rows],
            [self.tags[row] for row in rows],
            [self.uids[row] for row in rows],
            [self.rewards[row] for row in rows],
            [self.accuracies[row] for row in rows] if self.accuracies else [],
        )


def require_single_outputs(keys: Sequence[str]) -> None:
    """Refuse rollouts of several rows, which verl names `{uid}_{session}_{output}`.

    Each output of an agent's session becomes a row with the session's reward. An advantage estimator knows the prompt
    of a row but not its session: a rollout would be part of its own baseline, and the batch would exceed the budget.

    Raises:
        IntegrationError: If a rollout has more than one row.
    """
    several = [key for key in keys if not key.endswith("_0")]
    if several:
        raise IntegrationError(
            f"the agent loop returned several outputs for one rollout ({len(several)} rows such as {several[0]!r}), "
            "which counts and advantages cannot distinguish from several rollouts; let it return one output with the "
            "whole conversation, including its masked parts."
        )


def _place(key: str) -> tuple[str, int, int]:
    uid, rollout, output = key.rsplit("_", 2)
    return uid, int(rollout), int(output)


def own_accuracy(extra_fields: Any) -> float | None:
    """Return the accuracy that a scorer reports besides the reward, from 0 (wrong) to 1 (right); None if there is none.

    verl's reward managers keep the scorer's result as `reward_extra_info`. If the scorer returned a plain number, they
    add that as `acc`, which is then the reward and not an accuracy.

    Args:
        extra_fields: The row's field `extra_fields`.
    """
    info = extra_fields.get("reward_extra_info") if isinstance(extra_fields, Mapping) else None
    if not isinstance(info, Mapping) or _SCORERS_OWN.isdisjoint(info):
        return None
    accuracy = info.get("acc")
    if not isinstance(accuracy, (bool, int, float, np.bool_, np.number)):
        return None
    return float(accuracy) if 0 <= accuracy <= 1 else None
