"""verl's trainer modes: which of them keep a budget that belongs to a batch.

`sync` plans a batch, samples it and trains on it. `colocate_async` keeps `num_warmup_batches` more batches in flight,
and goes on sampling them after an update where it broke off. Each is submitted and planned as a whole, and a training
step takes one whole batch, the oldest, so that every step spends its budget exactly; it waits for that batch's
slowest rollout, where verl alone would take whichever prompts are done. The rollouts and the predictions they were
planned with are up to `num_warmup_batches` updates old. Groups with failed rollouts are trained on with what there
is, as in `sync`; verl alone would drop them and draw other prompts.

A checkpoint holds the batches in flight. verl writes their prompts and finished rollouts to its `transfer_queue`
folder, and samples anew on resume what was not finished; `vip_state.pt` holds their counts, which stay.
"""

from omegaconf import DictConfig


def is_async(config: DictConfig) -> bool:
    """Whether verl samples prompts while it trains on others, which it then fetches one by one."""
    return bool(config.trainer.v1.trainer_mode != "sync")


def batches_ahead(config: DictConfig) -> float:
    """Return how many batches verl has in flight besides the one that it trains on next."""
    return float(config.trainer.v1.colocate_async.num_warmup_batches) if is_async(config) else 0.0


def async_refusals(config: DictConfig) -> list[str]:
    """Return what is wrong with the trainer's mode, one sentence each with what to set instead."""
    mode, ahead = config.trainer.v1.trainer_mode, batches_ahead(config)
    if mode not in ("sync", "colocate_async"):
        return [
            f"trainer.v1.trainer_mode={mode} trains on parts of a batch, to which no budget belongs; "
            "set trainer.v1.trainer_mode=colocate_async, or sync."
        ]
    found = []
    if ahead < 0 or ahead % 1:
        found.append(
            f"trainer.v1.colocate_async.num_warmup_batches={ahead:g} is no number of whole batches, which are planned "
            f"and trained on as one; set trainer.v1.colocate_async.num_warmup_batches={max(round(ahead), 0)}."
        )
    oldest = config.trainer.v1.sampler.max_off_policy_threshold
    if ahead and oldest is not None and oldest < ahead + 1:
        found.append(
            f"trainer.v1.sampler.max_off_policy_threshold={oldest} forbids rollouts that wait for {ahead:g} updates, "
            "and a budget holds for all that was planned; "
            f"set trainer.v1.sampler.max_off_policy_threshold={int(ahead) + 1}, or fewer num_warmup_batches."
        )
    return found


def async_notes(config: DictConfig) -> list[str]:
    """Return what the user should know of batches that are sampled ahead."""
    ahead = batches_ahead(config)
    if not ahead:
        return []
    return [
        f"trainer.v1.trainer_mode=colocate_async: counts and rollouts are up to {ahead:g} updates old when they are "
        "trained on, and an update waits for the whole batch that was planned together"
    ]
