import pytest
import torch

from verl_vip.strategies.contract import Selection
from verl_vip.workers.session.row_weights import RowWeights, kept_rollouts, row_weights

UIDS = ["a", "b"]
OUTCOMES = (torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0.0, 1.0]))


def flags(*values):
    return tuple(torch.tensor(row, dtype=torch.bool) for row in values)


def test_without_a_selection_everything_is_kept_and_weighs_one():
    assert kept_rollouts(Selection(), OUTCOMES) is None
    assert kept_rollouts(Selection(keep=flags([], [])), (torch.tensor([]), torch.tensor([]))) is None
    weights = row_weights(Selection(), OUTCOMES, UIDS, [(0.0, 1.0)] * 2)
    assert weights == RowWeights()


def test_weights_follow_rewards_and_baselines_are_in_the_scorers_units():
    selection = Selection(
        keep=flags([1, 1, 0, 1], [0, 1]),
        prompt_weight=torch.tensor([2.0, 0.5]),
        rollout_weight=(torch.tensor([4.0, 3.0, 9.0, 2.0]), torch.tensor([9.0, 1.0])),
        baseline="sampled",
    )
    assert kept_rollouts(selection, OUTCOMES) == [[0, 1, 3], [1]]
    weights = row_weights(selection, OUTCOMES, UIDS, [(-1.0, 1.0), (0.0, 10.0)])
    assert weights.prompt == {"a": 2.0, "b": 0.5}
    assert {uid: row.tolist() for uid, row in weights.rollout.items()} == {"a": [3.0, 2.0, 4.0], "b": [1.0]}
    assert weights.baseline == {"a": (0.0, 4), "b": (5.0, 2)}


@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        (([], [0.0, 0.0]), [[], [0, 1]]),
        (([0.1, 0.9], [0.1] * 3), [[], [0, 1, 2]]),
        (([1.0], [0.1, 0.1]), [[], [0, 1]]),
        (([], [0.0, 1.0]), [[], [0]]),
        (([1.0], []), [[0], []]),
    ],
)
def test_when_nothing_is_kept_a_group_without_an_advantage_stays_without_weight(outcomes, kept):
    outcomes = tuple(torch.tensor(rewards, dtype=torch.float64) for rewards in outcomes)
    selection = Selection(keep=tuple(torch.zeros(len(rewards), dtype=torch.bool) for rewards in outcomes))
    assert kept_rollouts(selection, outcomes) == kept
    assert row_weights(selection, outcomes, UIDS, [(0.0, 1.0)] * 2).prompt == {"a": 0.0, "b": 0.0}
