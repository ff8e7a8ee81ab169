"""verl's trainer modes: which of them can keep the budget of a batch.

`sync` plans a batch, samples it and trains on it. `colocate_async` keeps `num_warmup_batches` more batches in flight
and continues to sample them after an update. Each batch is submitted and planned as a whole, and a training step takes
the oldest one, so every step spends its budget exactly. The step waits for the slowest rollout of its batch; verl alone
would take whichever prompts are finished. The rollouts, and the predictions behind their counts, are up to
`num_warmup_batches` updates old. Groups with failed rollouts are trained on with the remaining ones, as in `sync`;
verl alone would drop them and draw other prompts.

A checkpoint includes the batches in flight. verl writes their prompts and finished rollouts to its `transfer_queue`
folder, and samples the unfinished rollouts again after a resume. Their counts are kept in `vip_state.pt`.
"""

from verl_vip.annotations import Range
from verl_vip.workers.settings.verl_config import VerlConfig

_MODES = ("sync", "colocate_async", "separate_async")
_AHEAD = "trainer.v1.colocate_async.num_warmup_batches"
_OLDEST = "trainer.v1.sampler.max_off_policy_threshold"


def is_async(config: VerlConfig) -> bool:
    """Whether verl samples prompts while it trains on others; it then fetches prompts one by one."""
    return config.one_of("trainer.v1.trainer_mode", _MODES) != "sync"


def batches_ahead(config: VerlConfig) -> float:
    """Return the number of batches that verl has in flight besides the one that it trains on next."""
    return config.number(_AHEAD, Range(most=1000)) if is_async(config) else 0.0


def async_refusals(config: VerlConfig) -> list[str]:
    """Return what is wrong with the trainer's mode: one sentence each, with what to set instead."""
    mode = config.one_of("trainer.v1.trainer_mode", _MODES)
    if mode not in ("sync", "colocate_async"):
        return [
            f"trainer.v1.trainer_mode={mode} trains on parts of a batch, and the budget is for a whole batch; "
            "set trainer.v1.trainer_mode=colocate_async, or sync."
        ]
    ahead, oldest = batches_ahead(config), config.whole_if_any(_OLDEST)
    found = []
    if ahead < 0 or ahead % 1:
        found.append(
            f"{_AHEAD}={ahead:g} is not a whole number of batches, and a batch is planned and trained on as a whole; "
            f"set {_AHEAD}={max(round(ahead), 0)}."
        )
    if ahead and oldest is not None and oldest < ahead + 1:
        found.append(
            f"{_OLDEST}={oldest} drops rollouts that wait for {ahead:g} updates, "
            "and the budget needs all planned rollouts; "
            f"set {_OLDEST}={int(ahead) + 1}, or fewer num_warmup_batches."
        )
    return found


def async_notes(config: VerlConfig) -> list[str]:
    """Return messages about batches that are sampled ahead."""
    ahead = batches_ahead(config)
    if not ahead:
        return []
    return [
        f"trainer.v1.trainer_mode=colocate_async: counts and rollouts are up to {ahead:g} updates old when they are "
        "trained on, and an update waits until all of its batch is sampled"
    ]
