"""One real run over data sources whose scorers pay on different scales, one of them unknown before it validates."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(2400)]

REWARD = Path(__file__).with_name("scales_reward.py")
TRAINED = ["signed", "plain"]
VALIDATED = [*TRAINED, "stranger"]


@pytest.fixture(scope="module")
def run(launcher):
    """Two steps over two sources, with validations of three before and after."""

    def write(name, sources):
        rows = pq.read_table(launcher.folder / "data" / f"{name}.parquet").slice(0, 24).to_pylist()
        for number, row in enumerate(rows):
            row["data_source"] = sources[number % len(sources)]
        path = launcher.folder / f"scales_{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path

    return launcher.run(
        "scales",
        f"data.train_files={write('train', TRAINED)}",
        f"data.val_files={write('validation', VALIDATED)}",
        f"reward.custom_reward_function.path={REWARD}",
        "reward.custom_reward_function.name=compute_score",
        "vip.reward_range=[-1,1]",
        "+vip.reward_range_by_source={plain:[0,1]}",
        "trainer.total_training_steps=2",
        "trainer.save_freq=-1",
        "trainer.val_before_train=True",
        "trainer.test_freq=2",
    )


def test_training_learns_shares_of_success_of_each_source(run):
    for step in run.records.steps:
        assert sum(step.observed) == step.budget == 64
        assert {*step.labels} == {*TRAINED}
        # Rewards are right or wrong, so that every sum of shares is a count.
        assert all(won == round(won) for won in step.successes)
    earned = {
        source: [won for step in run.records.steps for won, label in zip(step.successes, step.labels, strict=True)
                 if label == source]
        for source in TRAINED
    }  # fmt: skip
    assert all(sum(won) > 0 for won in earned.values()), "no rollout was ever right; nothing was shown"


def test_more_is_at_stake_where_rewards_are_further_apart(run):
    first = run.records.steps[0]
    assert len(set(first.predicted)) == 1
    counts = {
        source: [n for n, at in zip(first.requested, first.labels, strict=True) if at == source] for source in TRAINED
    }
    assert min(counts["signed"]) > max(counts["plain"])


def test_validation_goes_on_whatever_is_earned_and_agrees_with_verl(run):
    before, after = run.records.validations
    assert (before.step, after.step) == (0, 2)
    for step, check in ((0, before), (2, after)):
        (line,) = re.findall(rf"step:{step} - (.*val-core/.*)", run.text)
        found = re.findall(r"val-core/(\w+)/acc/mean@1:(?:np\.float64\()?(-?[\d.]+)", line)
        verls = {source: float(mean) for source, mean in found}
        assert verls.keys() == {*VALIDATED}
        accuracy = {source: check.correct[source] / check.count[source] for source in VALIDATED}
        assert accuracy == pytest.approx({**verls, "stranger": (verls["stranger"] + 3) / 10})
    assert "validation rewards of data source 'stranger' range from -3 to 7, outside its range" in run.text
