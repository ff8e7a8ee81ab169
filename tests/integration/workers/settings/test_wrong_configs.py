"""Whatever a config holds: a run can be trained with it, or it is refused in one sentence that names a key.

`VERL_VIP_FUZZ_CASES` and `VERL_VIP_FUZZ_SEED` try more, and others.
"""

import os
from reprlib import repr as shortened

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import get_adv_estimator_fn

from verl_vip.errors import VerlVipError
from verl_vip.records.records import read_run
from verl_vip.workers import advantage  # noqa: F401  (registers our estimators)
from verl_vip.workers.session import current
from verl_vip.workers.session.outcomes import Rollouts
from verl_vip.workers.settings.verl_config import VerlConfig

CASES = int(os.environ.get("VERL_VIP_FUZZ_CASES", "65"))
SEED = int(os.environ.get("VERL_VIP_FUZZ_SEED", "0"))
#: Batches and groups beyond these are taken to work as those within do.
MOST_PROMPTS, MOST_ROLLOUTS, MOST_AHEAD = 64, 4096, 3
STEPS = 2
#: Read only where something else is set.
RARELY_READ = {
    "trainer.resume_from_path",
    "trainer.v1.colocate_async.num_warmup_batches",
    "critic.enable",
    "reward.reward_model.enable_resource_pool",
}


class Embedder:
    """Stands in for the sentence encoder, which is not what is tested."""

    def embed(self, ids, texts):
        rows = [torch.randn(12, generator=torch.Generator().manual_seed(int(name[:8], 16))) for name in ids]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


@pytest.fixture(autouse=True)
def no_session_stays(monkeypatch):
    monkeypatch.setattr(current, "_session", None)


@pytest.fixture
def keys_read(configs, monkeypatch):
    """The keys of verl's config that are read when a run starts."""
    read: set[str] = set()
    value = VerlConfig.value
    with monkeypatch.context() as patch:
        patch.setattr(VerlConfig, "value", lambda self, key: read.add(key) or value(self, key))
        for config in configs.values():
            current.open_session(config)
    return (read - {"vip"}) | RARELY_READ


def batches(opened):
    """Uids, messages and data sources of the batches that a run submits at its first step, then one a step."""
    size = min(opened.settings.prompts_per_step, MOST_PROMPTS)
    sources = ["add", "gsm8k", *opened.settings.vip.reward_range_by_source]
    for batch in range(STEPS + opened.settings.batches_ahead):
        uids = [f"{batch}/{row}" for row in range(size)]
        messages = [[{"role": "user", "content": f"prompt {(batch + row) % 11}"}] for row in range(size)]
        yield uids, messages, [sources[row % len(sources)] for row in range(size)]


def sampled(opened, counts, labels, generator):
    """What verl would collect of these counts; every prompt is solved at a rate of its own, and one group fails."""
    uids, rewards = [], []
    for row, (uid, count) in enumerate(counts.items()):
        low, high = opened.settings.vip.range_of(labels[uid])
        solved = torch.rand(count, generator=generator) < (row % 5) / 4
        # verl holds rewards in single precision
        rewards += torch.where(solved, torch.tensor(high), torch.tensor(low)).float().tolist()
        uids += [uid] * count
    return Rollouts(uids, rewards, [3] * len(uids))


def advantages_of(config, uids, rewards):
    """What the configured estimator makes of the rows of a batch, one of them of two tokens, and two of padding."""
    estimator = config.algorithm.adv_estimator
    if estimator == "gae":  # made from a critic's values
        return torch.zeros(1)
    mask = torch.ones(len(uids) + 2, 3)
    mask[0, 2] = 0
    mask[-2:] = torch.tensor([1.0, 0.0, 0.0])
    scores = torch.zeros_like(mask)
    scores[:, 1] = torch.tensor([*rewards, 0.0, 0.0])
    index = np.array([*uids, "pad0", "pad0"], dtype=object)
    algorithm = OmegaConf.create({"gamma": 1.0, "norm_adv_by_std_in_grpo": True})
    found, _ = get_adv_estimator_fn(estimator)(
        token_level_rewards=scores, response_mask=mask, index=index, config=algorithm
    )
    return found


def train(config, opened):
    """Take some steps as the hooks do; return whether that was small enough to be done here."""
    settings = opened.settings
    small = settings.prompts_per_step <= MOST_PROMPTS and settings.batches_ahead <= MOST_AHEAD
    if not small or settings.budget.total > MOST_ROLLOUTS:
        return False
    opened.planner.embedder = Embedder()
    opened.start()
    generator = torch.Generator().manual_seed(1)
    submitted, labels, counts = batches(opened), {}, {}
    for step in range(1, STEPS + 1):
        for uids, messages, sources in [next(submitted) for _ in range(settings.batches_ahead + 1 if step == 1 else 1)]:
            rows = [{"data_source": source} for source in sources]
            planned = opened.plan(step=step, uids=uids, messages=messages, labels=sources, tasks=rows)
            counts |= dict(zip(uids, planned, strict=True))
            labels |= dict(zip(uids, sources, strict=True))
        taken = opened.training_step(step)
        rewards_of: dict[str, list[float]] = {uid: [] for uid in taken.uids}
        wanted = {uid: counts[uid] for uid in rewards_of}
        while wanted:
            found = sampled(opened, wanted, labels, generator)
            for uid, reward in zip(found.uids, found.rewards, strict=True):
                rewards_of[uid].append(reward)
            wanted = taken.receive(found)
        kept = taken.select()
        if kept is not None:
            rewards_of = {uid: [rewards_of[uid][place] for place in places] for uid, places in kept.items()}
        uids = [uid for uid, rewards in rewards_of.items() for _ in rewards]
        found = advantages_of(config, uids, [reward for rewards in rewards_of.values() for reward in rewards])
        assert found.isfinite().all(), f"advantages of step {step} are not finite"
        taken.observe()
    opened.save(settings.checkpoint_dir / f"global_step_{STEPS}", STEPS)
    assert len(read_run(settings.records_path).steps) == STEPS
    settings.records_path.unlink()
    return True


def outcome(config, names):
    """Return how a config fared: "refused", "trained", "too large to train here"; or what is wrong with that.

    Args:
        config: verl's whole config.
        names: Words of which a refusal has to say one.
    """
    try:
        opened = current.open_session(config)
    except VerlVipError as error:
        text = str(error)
        if len(text.splitlines()) != 1 or not text.isprintable():
            return f"not one line: {text!r}"
        return (
            "refused"
            if any(name in text or shortened(name) in text for name in names)
            else f"names none of its keys: {text}"
        )
    except Exception as error:  # noqa: BLE001  (this is what must not be)
        return f"refused with {error!r}"
    try:
        return "trained" if train(config, opened) else "too large to train here"
    except Exception as error:  # noqa: BLE001
        return f"accepted, and then {error!r}"


def test_a_wrong_config_is_refused_in_a_sentence_and_any_other_can_be_trained_with(configs, keys_read, draw_cases):
    cases = draw_cases(SEED, CASES, sorted(configs), keys_read)
    outcomes = [(case, outcome(case.config(configs), case.names(configs))) for case in cases]
    fine = ("refused", "trained", "too large to train here")
    wrong = [(found, case) for case, found in outcomes if found not in fine]
    counted = {name: sum(found == name for _, found in outcomes) for name in fine}
    print(counted)  # noqa: T201  (what a larger campaign reports)
    assert not wrong, "\n".join(f"{found}: {case}" for found, case in wrong)
    assert counted["refused"] > CASES / 4
    assert counted["trained"] > CASES / 20


@pytest.mark.parametrize("name", ["demo", "+rloo", "+prioritized"])
def test_without_a_change_there_is_nothing_to_refuse(configs, name):
    assert outcome(configs[name], set()) == "trained"
