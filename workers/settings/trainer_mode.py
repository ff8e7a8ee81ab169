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

from verl_vip.annotations import Range
from verl_vip.workers.settings.verl_config import VerlConfig

_MODES = ("sync", "colocate_async", "separate_async")
_AHEAD = "trainer.v1.colocate_async.num_warmup_batches"
_OLDEST = "trainer.v1.sampler.max_off_policy_threshold"


def is_async(config: VerlConfig) -> bool:
    """Whether verl samples prompts while it trains on others, which it then fetches one by one."""
    return config.one_of("trainer.v1.trainer_mode", _MODES) != "sync"


def batches_ahead(config: VerlConfig) -> float:
    """Return how many batches verl has in flight besides the one that it trains on next."""
    return config.number(_AHEAD, Range(most=1000)) if is_async(config) else 0.0


def async_refusals(config: VerlConfig) -> list[str]:
    """Return what is wrong with the trainer's mode, one sentence each with what to set instead."""
    mode = config.one_of("trainer.v1.trainer_mode", _MODES)
    if mode not in ("sync", "colocate_async"):
        return [
            f"trainer.v1.trainer_mode={mode} trains on parts of a batch, to which no budget belongs; "
            "set trainer.v1.trainer_mode=colocate_async, or sync."
        ]
    ahead, oldest = batches_ahead(config), config.whole_if_any(_OLDEST)
    found = []
    if ahead < 0 or ahead % 1:
        found.append(
            f"{_AHEAD}={ahead:g} is no number of whole batches, which are planned and trained on as one; "
            f"set {_AHEAD}={max(round(ahead), 0)}."
        )
    if ahead and oldest is not None and oldest < ahead + 1:
        found.append(
            f"{_OLDEST}={oldest} forbids rollouts that wait for {ahead:g} updates, "
            "and a budget holds for all that was planned; "
            f"set {_OLDEST}={int(ahead) + 1}, or fewer num_warmup_batches."
        )
    return found


def async_notes(config: VerlConfig) -> list[str]:
    """Return what the user should know of batches that are sampled ahead."""
    ahead = batches_ahead(config)
    if not ahead:
        return []
    return [
        f"trainer.v1.trainer_mode=colocate_async: counts and rollouts are up to {ahead:g} updates old when they are "
        "trained on, and an update waits for the whole batch that was planned together"
    ]
