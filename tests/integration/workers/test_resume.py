"""A run that was interrupted asks for the same rollouts as one that was not."""

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

from verl_vip.prediction.registry import PREDICTORS
from verl_vip.records.records import read_run
from verl_vip.workers.session.outcomes import Rollouts
from verl_vip.workers.session.session import Session
from verl_vip.workers.settings.run_settings import RunSettings

STEPS, PROMPTS, POOL = 6, 6, 15


class Embedder:
    def embed(self, ids, texts):
        rows = [torch.randn(12, generator=torch.Generator().manual_seed(int(name[:8], 16))) for name in ids]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


@pytest.fixture(scope="module")
def demo_settings():
    overrides = [f"data.train_batch_size={PROMPTS}", "trainer.save_freq=1", "trainer.resume_mode=disable"]
    with initialize_config_module("verl_vip.recipes", version_base=None):
        return RunSettings.from_verl(compose("demo", overrides=overrides))


def opened(settings, folder, resume_step=None):
    resume_dir = None if resume_step is None else folder / f"global_step_{resume_step}"
    steps = range(resume_step + 1, resume_step + 1 + settings.batches_ahead) if resume_step else ()
    session = Session(dataclasses.replace(settings, checkpoint_dir=folder, resume_dir=resume_dir))
    session.planner.embedder = Embedder()
    session.restore()
    session.start(in_flight=[f"{step}/{row}" for step in steps for row in range(PROMPTS)])
    return session


def submit(session, step, batch):
    """Have the same prompts planned in the same batch, whoever asks."""
    prompts = random.Random(batch).choices(range(POOL), k=PROMPTS)
    uids = [f"{batch}/{row}" for row in range(PROMPTS)]
    session.plan(step=step, uids=uids, messages=[f"prompt {p}" for p in prompts], labels=["x"] * PROMPTS)


def take(session, steps):
    """Train on the same prompts in the same steps, whose rollouts earn the same whoever asks."""
    ahead = session.settings.batches_ahead
    for step in range(steps.start, steps.start + ahead):  # those that a checkpoint has already keep their counts
        submit(session, steps.start, step)
    for step in steps:
        submit(session, step, step + ahead)
        planned = session.state.plans.counts
        taken = session.training_step(step)
        uids = taken.uids
        counts = [planned[uid] for uid in uids]
        rows = [(uid, number) for uid, count in zip(uids, counts, strict=True) for number in range(count)]
        # A rollout in twenty fails, and one in twenty has no reward.
        fates = [random.Random(f"{uid}/{number}").random() for uid, number in rows]
        rewards = [float("nan") if fate > 0.95 else float(fate < 0.5) for fate in fates]
        kept = [row for row, fate in enumerate(fates) if fate > 0.05]
        sampled = Rollouts([rows[k][0] for k in kept], [rewards[k] for k in kept], [3] * len(kept))
        assert not taken.receive(sampled)
        taken.select()
        taken.observe()


def told(folder):
    """What the records say of every step, clocks apart."""
    return [dataclasses.replace(step, wall_time=0.0, seconds={}) for step in read_run(folder).steps]


# The oracle is told the truth in simulations and predicts nothing in training.
CONFIGS = [{"predictor": name} for name in sorted(PREDICTORS.keys() - {"oracle"})]
CONFIGS += [{"strategy": "random_permutation"}, {"strategy": "uniform"}, {"objective": "dr_grpo"}]


@pytest.mark.parametrize("vip", CONFIGS, ids=lambda vip: "-".join(vip.values()))
def test_a_run_interrupted_after_any_step_goes_on_as_if_it_had_not_been(tmp_path, demo_settings, vip):
    compare(tmp_path, dataclasses.replace(demo_settings, vip=dataclasses.replace(demo_settings.vip, **vip)))


@pytest.mark.parametrize(
    ("ahead", "strategy", "predictor"),
    [(1, "vip", "drifting_gp"), (3, "vip", "beta_table"), (2, "random_permutation", "beta_table")],
)
def test_so_does_one_that_samples_batches_ahead(tmp_path, demo_settings, ahead, strategy, predictor):
    vip = dataclasses.replace(demo_settings.vip, strategy=strategy, predictor=predictor)
    compare(tmp_path, dataclasses.replace(demo_settings, vip=vip, batches_ahead=ahead))


def compare(tmp_path, settings):
    """Interrupt a run after each step, and hold its continuation against the whole run."""
    take(opened(settings, tmp_path / "whole"), range(1, STEPS + 1))
    whole = told(tmp_path / "whole")
    assert len({tuple(step.predicted) for step in whole}) > 1
    for cut in range(1, STEPS):
        folder = tmp_path / f"cut{cut}"
        # One step beyond the checkpoint is taken, lost, and taken again.
        take(opened(settings, folder), range(1, cut + 2))
        take(opened(settings, folder, resume_step=cut), range(cut + 1, STEPS + 1))
        assert told(folder) == whole


@pytest.mark.heavy
@pytest.mark.parametrize(("kills", "seed"), [(30, 1), pytest.param(100, 0, marks=pytest.mark.slow)])
def test_kills_at_any_moment_lose_nothing_before_the_last_checkpoint(tmp_path, kills, seed):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed_sessions.py")), str(tmp_path), str(kills), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["kills"] == kills
    assert report["mismatches"] == 0
    assert report["advances"] > kills / 10, "the kills came before anything was done"
