"""Rollouts and rewards that fail, in one real run: it goes on, says so, and counts only what is there."""

import math
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from verl_vip.recipes.overrides import override

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(2400)]

REWARD = Path(__file__).with_name("flaky_reward.py")


@pytest.fixture(scope="module")
def run(launcher):
    """Two steps over four prompts, each four times: two good ones, one too long, one that cannot be scored.

    The data set has no `extra_info`, so no index either, and the scorer gives NaN to about half of what it scores.
    """
    rows = pq.read_table(launcher.folder / "data" / "train.parquet").slice(0, 2).to_pylist()
    for row in rows:
        del row["extra_info"]
    too_long = {**rows[0], "prompt": [{"role": "user", "content": rows[0]["prompt"][0]["content"] + " abc" * 200}]}
    unscorable = {**rows[1], "prompt": [{"role": "user", "content": rows[1]["prompt"][0]["content"] + " a"}]}
    unscorable["reward_model"] = {"style": "rule", "ground_truth": "raise"}
    data = launcher.folder / "flaky.parquet"
    pq.write_table(pa.Table.from_pylist([*rows, too_long, unscorable] * 4), data)
    return launcher.run(
        "flaky",
        override("data.train_files", str(data)),
        "trainer.total_training_steps=2",
        "trainer.save_freq=-1",
        "trainer.val_before_train=False",
        override("reward.custom_reward_function.path", str(REWARD)),
        "reward.custom_reward_function.name=compute_score",
    )


def test_training_goes_on_and_the_budget_is_asked_for_in_full(run):
    assert [step.step for step in run.records.steps] == [1, 2]
    for step in run.records.steps:
        assert sum(step.requested) == step.budget == 64


def test_only_scored_rollouts_are_counted(run):
    by_prompt: dict[str, list[tuple[int, int]]] = {}
    for step in run.records.steps:
        assert len(set(step.ids)) <= 4 < len(step.ids)
        for prompt, asked, got in zip(step.ids, step.requested, step.observed, strict=True):
            by_prompt.setdefault(prompt, []).append((asked, got))
    assert len(by_prompt) == 4
    shares = sorted(sum(got for _, got in pairs) / sum(asked for asked, _ in pairs) for pairs in by_prompt.values())
    assert shares[0] == 0
    assert 0 < shares[1] <= shares[3] < 1
    assert all(got <= asked for pairs in by_prompt.values() for asked, got in pairs)


def test_a_prompt_that_is_too_long_is_cut_at_its_beginning_by_verl(run):
    assert "left-truncating" in run.text
    assert re.search(r"prompt_length/max:48\.0", run.text)


def test_the_user_is_told(run):
    assert "prompts repeat another prompt of the batch" in run.text
    assert re.search(r"step 1: \d of 8 prompts returned another number of rollouts than requested", run.text)
    assert re.search(r"step 1: the rewards of \d+ rollouts of \d prompts are not finite numbers", run.text)


def test_the_update_is_finite(run):
    norms = [float(value) for value in re.findall(r"actor/grad_norm:(\S+)", run.text)]
    assert len(norms) == 2
    assert all(math.isfinite(norm) for norm in norms)
    assert max(norms) > 0
    missing = [float(value) for value in re.findall(r"vip/rollouts/missing:(\S+)", run.text)]
    assert missing == [sum(step.requested) - sum(step.observed) for step in run.records.steps]
