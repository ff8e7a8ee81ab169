import dataclasses
import inspect
import math

import numpy as np
import pytest

from verl_vip.errors import IntegrationError
from verl_vip.workers.session.sampled_rows import SampledRows, own_accuracy, require_single_outputs


def rows(*keys):
    return SampledRows(
        keys=list(keys),
        tags=[{"key": key, "response_len": 5} for key in keys],
        uids=[key.split("_")[0] for key in keys],
        rewards=[float(key.split("_")[1]) for key in keys],
    )


def test_rollouts_are_put_in_the_order_sampled():
    ordered = rows("b_10_0", "b_2_0", "a_1_1", "a_1_0", "b_0_0").in_order()
    assert ordered.keys == ["a_1_0", "a_1_1", "b_0_0", "b_2_0", "b_10_0"]
    assert ordered.rewards == [1.0, 1.0, 0.0, 2.0, 10.0]
    assert [tag["key"] for tag in ordered.tags] == ordered.keys


def test_a_further_round_continues_the_prompts_of_the_first():
    first, second = rows("a_0_0", "a_1_0", "b_0_0"), rows("b-2_0_0", "b-2_1_0").renamed({"b-2": "b"})
    joined = first + second
    assert joined.uids == ["a", "a", "b", "b", "b"]
    kept, dropped = joined.split({"a": [1], "b": [0, 2]})
    assert kept.keys == ["a_1_0", "b_0_0", "b-2_1_0"]
    assert dropped.keys == ["a_0_0", "b-2_0_0"]
    batch = kept.batch("train")
    assert (batch.partition_id, batch.keys, batch.tags) == ("train", kept.keys, kept.tags)


def test_rows_without_a_finite_reward_have_no_position_and_are_not_kept():
    found = SampledRows(
        keys=["a_0_0", "a_1_0", "a_2_0"],
        tags=[{"response_len": 3}] * 3,
        uids=["a", "a", "a"],
        rewards=[math.nan, 1.0, 0.0],
    )
    kept, dropped = found.split({"a": [1]})
    assert kept.keys == ["a_2_0"]
    assert dropped.keys == ["a_0_0", "a_1_0"]
    assert found.rollouts.tokens == [3, 3, 3]


@pytest.mark.parametrize(
    ("noted", "accuracy"),
    [
        ({"score": -1.0, "acc": False, "pred": "7"}, 0.0),
        ({"score": 1.0, "acc": True}, 1.0),
        ({"score": 3.0, "acc": np.float32(0.25)}, 0.25),
        ({"timeout": True, "acc": 0.0}, 0.0),
        ({"acc": 0.0}, None),  # verl's copy of a reward that was a plain number
        ({"score": 1.0}, None),
        ({"score": 1.0, "acc": 55.0}, None),
        ({"score": 1.0, "acc": math.nan}, None),
        ({"score": 1.0, "acc": "yes"}, None),
        ({"score": 1.0, "acc": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_a_scorer_says_of_an_answer_is_told_from_its_reward(noted, accuracy):
    assert own_accuracy({"reward_extra_info": noted, "global_steps": 3}) == accuracy


@pytest.mark.parametrize("nothing", [None, {}, "text", [1.0]])
def test_a_row_without_notes_has_no_accuracy(nothing):
    assert own_accuracy(nothing) is None


def test_accuracies_stay_with_their_rows():
    found = dataclasses.replace(rows("b_0_0", "a_1_0", "a_0_0"), accuracies=[0.5, None, 1.0])
    assert found.in_order().rollouts.accuracies == [1.0, None, 0.5]
    assert (found + found).accuracies == [0.5, None, 1.0] * 2


def test_one_row_a_rollout_is_what_is_expected():
    require_single_outputs(["4f_0_0", "4f_10_0", "5a_0_0"])
    require_single_outputs([])


def test_agents_with_several_outputs_are_refused():
    with pytest.raises(IntegrationError, match=r"several outputs for one rollout \(2 rows such as '4f_0_1'\)"):
        require_single_outputs(["4f_0_0", "4f_0_1", "4f_0_2", "4f_1_0"])


def test_verl_names_rows_so():
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    worker = getattr(AgentLoopWorkerTQ, "__ray_metadata__", None)
    worker = AgentLoopWorkerTQ if worker is None else worker.modified_class
    assert 'keys.append(f"{uid}_{session_id}_{i}")' in inspect.getsource(worker._agent_loop_postprocess)
