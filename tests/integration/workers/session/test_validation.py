"""Validation accuracy counts problems, what failed is wrong, and no reward ends a run."""

import asyncio
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.config import VipConfig
from verl_vip.records.records import ValidationRecord
from verl_vip.workers.session.learned_ranges import LearnedRanges
from verl_vip.workers.session.outcomes import Rollouts
from verl_vip.workers.session.sampled_rows import own_accuracy
from verl_vip.workers.session.validation import ValidationTally


def ranges(**vip):
    return LearnedRanges(VipConfig(**vip))


def test_failed_and_unscored_rollouts_are_wrong_answers(caplog):
    tally = ValidationTally()
    tally.expect(["a", "b", "c", "d"], ["add", "add", "sort", "sort"], [2, 2, 2, 1])
    rollouts = Rollouts(["a", "a", "b", "c", "c"], [1.0, 1.0, 1.0, 1.0, math.nan], [1] * 5)
    correct, count = tally.count(rollouts, ranges())
    assert correct == {"add": 1.5, "sort": 0.5}
    assert count == {"add": 2, "sort": 2}
    assert "3 validation rollouts failed" in caplog.text


def test_a_second_batch_does_not_see_the_first():
    tally = ValidationTally()
    for uid in ("a", "b"):
        tally.expect([uid], ["add"], [1])
        assert tally.count(Rollouts([uid], [1.0], [1]), ranges()) == ({"add": 1.0}, {"add": 1})


def test_what_the_scorer_says_goes_before_its_reward():
    tally = ValidationTally()
    tally.expect(["a", "b"], ["add", "add"], [2, 1])
    rollouts = Rollouts(["a", "a", "b"], [-5.0, 0.5, math.nan], [1] * 3, [1.0, None, 1.0])
    assert tally.count(rollouts, ranges()) == ({"add": 0.75}, {"add": 2})


@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abcz"), st.floats(width=32), st.none() | st.floats(0, 1)), min_size=1, max_size=30
    ),
    low=st.floats(-10, 10),
    width=st.floats(0.1, 10),
)
def test_whatever_is_earned_can_be_recorded(rows, low, width):
    tally = ValidationTally()
    tally.expect(["a", "b", "c"], ["s", "s", "t"], [1, 3, 2])
    uids, rewards, accuracies = zip(*rows, strict=True)
    found = Rollouts(uids, rewards, [1] * len(rows), accuracies)
    correct, count = tally.count(found, ranges(reward_range=(low, low + width)))
    record = ValidationRecord(step=0, wall_time=0.0, rollouts_total=0, correct=correct, count=count)
    assert 0 <= record.accuracy <= 1


class Words:
    """The part of a tokenizer that a reward manager takes."""

    def __init__(self, text):
        self.text = text

    def decode(self, ids, skip_special_tokens):
        return self.text


def by_verl(source, answer, truth):
    """Reward and notes of verl's own reward manager with its own scorer."""
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

    async def score():
        manager = NaiveRewardManager(SimpleNamespace(), Words(answer), None)
        data = DataProto.from_dict(
            tensors={"responses": torch.ones(1, 4).long(), "attention_mask": torch.ones(1, 8).long()},
            non_tensors={
                "data_source": np.array([source], dtype=object),
                "reward_model": np.array([{"ground_truth": truth}], dtype=object),
                "extra_info": np.array([{}], dtype=object),
            },
        )
        return await manager.run_single(data)

    return asyncio.run(score())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reward_range", [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize(
    ("source", "wrong", "right"),
    [
        ("openai/gsm8k", "#### 6", "#### 7"),
        ("math_dapo", "Answer: 6", "Answer: 7"),
        ("aime_2024", "Answer: 6", "Answer: 7"),
        ("lighteval/MATH", "\\boxed{6}", "\\boxed{7}"),
        ("searchR1_nq", "<answer>six</answer>", "<answer>7</answer>"),
    ],
)
def test_verls_own_scorers_pay_on_several_scales_and_all_are_counted_right(source, wrong, right, reward_range):
    truth = {"target": ["7"]} if source.startswith("searchR1") else "7"
    for answers, solved in ([wrong, wrong], 0), ([wrong, right], 1), ([right, right], 2):
        found = [by_verl(source, answer, truth) for answer in answers]
        tally = ValidationTally()
        tally.expect(["a"], [source], [2])
        accuracies = [own_accuracy({"reward_extra_info": one["reward_extra_info"]}) for one in found]
        rollouts = Rollouts(["a", "a"], [float(one["reward_score"]) for one in found], [1, 1], accuracies)
        correct, _ = tally.count(rollouts, ranges(reward_range=reward_range))
        assert correct == {source: pytest.approx(solved / 2)}
