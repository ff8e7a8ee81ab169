import pytest
import torch

from verl_vip.advantages.selection import SelectedRollouts, Selection
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.workers.session.update_terms import UpdateTerms, kept_rollouts, with_rows

UIDS = ["a", "b"]
OUTCOMES = (torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0.0, 1.0]))
PREDICTION = Prediction(torch.full((2,), 0.5), torch.full((2,), 0.05))


def flags(*values):
    return tuple(torch.tensor(row, dtype=torch.bool) for row in values)


def terms(selection, outcomes=OUTCOMES, ranges=((0.0, 1.0),) * 2):
    selected = SelectedRollouts.of(selection, outcomes)
    return UpdateTerms.of_batch(UIDS, PREDICTION, GradientVariance(), ranges, selected)


def test_without_a_selection_everything_is_kept_and_weighs_one():
    selection = with_rows(Selection(), OUTCOMES)
    assert kept_rollouts(selection) is None
    assert terms(selection).weight.tolist() == [1.0, 1.0]
    assert terms(selection).unused_rewards is None


def test_where_no_rollout_has_a_reward_all_rows_stay_without_weight():
    nothing = (torch.tensor([]), torch.tensor([]))
    selection = with_rows(Selection(keep=flags([], [])), nothing)
    assert kept_rollouts(selection) is None
    assert terms(selection, nothing).weight.tolist() == [0.0, 0.0]


def test_baselines_are_in_the_scorers_units():
    selection = Selection(
        keep=flags([1, 1, 0, 1], [0, 1]),
        prompt_weight=torch.tensor([2.0, 0.5]),
        rollout_weight=(torch.tensor([4.0, 3.0, 9.0, 2.0]), torch.tensor([9.0, 1.0])),
        baseline="sampled",
    )
    assert with_rows(selection, OUTCOMES) is selection
    assert kept_rollouts(selection) == [[0, 1, 3], [1]]
    found = terms(selection, ranges=[(-1.0, 1.0), (0.0, 10.0)])
    assert found.weight.tolist() == [2.0, 0.5]
    sums, number = found.unused_rewards
    assert (sums.tolist(), number.tolist()) == ([1.0, 0.0], [1.0, 1.0])


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
    selection = with_rows(
        Selection(keep=tuple(torch.zeros(len(rewards), dtype=torch.bool) for rewards in outcomes)), outcomes
    )
    assert kept_rollouts(selection) == kept
    assert terms(selection, outcomes).weight.tolist() == [0.0, 0.0]
