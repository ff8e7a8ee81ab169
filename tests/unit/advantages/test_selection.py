from itertools import combinations
from typing import get_args

import pytest
import torch
from fixtures.selections import coefficients_by_hand, rloo_by_hand, selected_outcomes
from hypothesis import given, settings

from verl_vip.advantages.compute import ADVANTAGES, compute_advantages
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.selection import SelectedRollouts, Selection, Weighing
from verl_vip.errors import InvalidInputError


def rewards(*groups):
    return tuple(torch.tensor(values, dtype=torch.float64) for values in groups)


def boolean(*groups):
    return tuple(torch.tensor(values, dtype=torch.bool) for values in groups)


def coefficients(outcomes, selection, estimator="rloo"):
    selected = SelectedRollouts.of(selection, outcomes)
    batch = GroupedRewards(selected.rewards, selected.group, len(outcomes), unused=selected.unused)
    found = torch.zeros(sum(map(len, outcomes)), dtype=torch.float64)
    found[selected.rows] = selected.weights * ADVANTAGES[estimator](batch) / max(selected.num_prompts, 1)
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(case=selected_outcomes())
def test_the_update_is_the_definition_written_out(case):
    torch.testing.assert_close(coefficients(*case), coefficients_by_hand(*case, rloo_by_hand))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(case=selected_outcomes())
def test_kept_rollouts_are_those_flagged_in_the_order_sampled(case):
    outcomes, selection = case
    selected = SelectedRollouts.of(selection, outcomes)
    flags = [True] * sum(map(len, outcomes)) if selection.keep is None else torch.cat(selection.keep).tolist()
    assert selected.rows.tolist() == [place for place, flag in enumerate(flags) if flag]
    assert selected.rewards.tolist() == [
        reward for reward, flag in zip(torch.cat(outcomes).tolist(), flags, strict=True) if flag
    ]
    assert int(selected.sizes.sum()) == len(selected.rows) == len(selected.group)
    assert selected.num_prompts == len(set(selected.group.tolist()))
    if selected.unused is not None:
        sums, number = selected.unused
        batch = GroupedRewards(selected.rewards, selected.group, len(outcomes), unused=selected.unused)
        assert (selected.sizes + number).tolist() == [len(group) for group in outcomes]
        torch.testing.assert_close(batch.sampled_sums, torch.stack([group.sum() for group in outcomes]))
        assert bool((sums >= 0).all())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(case=selected_outcomes())
def test_without_weights_every_prompt_with_kept_rollouts_weighs_the_same(case):
    outcomes, selection = case
    selected = SelectedRollouts.of(Selection(selection.keep), outcomes)
    total = torch.zeros(len(outcomes), dtype=torch.float64).index_add(0, selected.group, selected.weights)
    torch.testing.assert_close(total, (selected.sizes > 0).double())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(case=selected_outcomes())
def test_equal_weights_are_those_of_a_mean_over_rows_with_row_factors(case):
    outcomes, selection = case
    selected = SelectedRollouts.of(selection, outcomes)
    if not len(selected.rows):
        return
    batch = GroupedRewards(selected.rewards, selected.group, len(outcomes), unused=selected.unused)
    over_rows = compute_advantages(batch, estimator="rloo", weight=selected.prompt_weight) / len(selected.rows)
    if selected.rollout_weight is not None:
        over_rows = over_rows * selected.rollout_weight
    torch.testing.assert_close(coefficients(outcomes, selection)[selected.rows], over_rows)


@pytest.mark.parametrize("estimator", ["dr_grpo", "rloo", "reinforce", "max_rl"])
@pytest.mark.parametrize("kept", [1, 2, 3])
def test_an_even_draw_of_rollouts_leaves_the_expected_update_as_it_was(estimator, kept):
    outcomes = rewards([1, 0, 0.25, 1])
    everything = coefficients(outcomes, Selection(), estimator)
    draws = [
        coefficients(outcomes, Selection(boolean([i in chosen for i in range(4)]), baseline="sampled"), estimator)
        for chosen in combinations(range(4), kept)
    ]
    torch.testing.assert_close(torch.stack(draws).mean(0), everything)


def test_rollouts_drawn_unevenly_and_weighed_up_leave_the_expected_update_as_it_was():
    outcomes = rewards([1, 0, 0.25, 1])
    pairs = list(combinations(range(4), 2))
    probability = torch.tensor([0.3, 0.1, 0.2, 0.1, 0.1, 0.2], dtype=torch.float64)
    inclusion = torch.stack(
        [sum(p for p, pair in zip(probability, pairs, strict=True) if rollout in pair) for rollout in range(4)]
    )
    expected = torch.zeros(4, dtype=torch.float64)
    for chance, pair in zip(probability, pairs, strict=True):
        keep = boolean([i in pair for i in range(4)])
        drawn = Selection(keep, rollout_weight=(2 / 4 / inclusion,), baseline="sampled")
        expected += chance * coefficients(outcomes, drawn)
    torch.testing.assert_close(expected, coefficients(outcomes, Selection()))


def test_prompts_drawn_unevenly_and_weighed_up_leave_the_expected_update_as_it_was():
    outcomes = rewards([1, 0], [0, 1, 1], [0, 0, 0, 1])
    pairs = list(combinations(range(3), 2))
    probability = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    inclusion = torch.stack(
        [sum(p for p, pair in zip(probability, pairs, strict=True) if prompt in pair) for prompt in range(3)]
    )
    expected = torch.zeros(9, dtype=torch.float64)
    for chance, pair in zip(probability, pairs, strict=True):
        keep = tuple(torch.full((len(group),), row in pair) for row, group in enumerate(outcomes))
        expected += chance * coefficients(outcomes, Selection(keep, prompt_weight=2 / 3 / inclusion))
    torch.testing.assert_close(expected, coefficients(outcomes, Selection()))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(case=selected_outcomes())
def test_weights_follow_rewards_whatever_the_order_and_the_scale(case):
    selected = SelectedRollouts.of(case[1], case[0])
    order = torch.randperm(len(selected.rows), generator=torch.Generator().manual_seed(len(selected.rows)))
    scaled, group = 3 * selected.rewards[order] - 1, selected.group[order]
    found = selected.rollout_weight_by_rank(scaled, group)
    wanted = torch.ones(len(order)).double() if selected.rollout_weight is None else selected.rollout_weight[order]

    def by_reward(weights):
        rows = zip(group.tolist(), scaled.tolist(), weights.tolist(), strict=True)
        return sorted(rows)  # rollouts of one prompt with one reward may swap their weights

    assert by_reward(found) == by_reward(wanted)


def test_weights_of_other_rollouts_than_those_kept_are_refused():
    selected = SelectedRollouts.of(
        Selection(boolean([1, 0, 1], [1]), rollout_weight=rewards([1, 2, 3], [4])), rewards([0, 1, 1], [0])
    )
    for group in ([0, 0], [0, 1, 1], [0, 0, 0, 1]):
        with pytest.raises(InvalidInputError, match="the strategy kept 3, or their prompts differ"):
            selected.rollout_weight_by_rank(torch.zeros(len(group)), torch.tensor(group))


def test_partial_use_needs_keep():
    flags = (torch.ones(2, dtype=torch.bool),)
    assert Selection(keep=flags, baseline="sampled").baseline == "sampled"
    for partial in ({"baseline": "sampled"}, {"rollout_weight": (torch.ones(2),)}):
        with pytest.raises(InvalidInputError, match="need keep"):
            Selection(**partial)


def test_a_selection_knows_what_it_weighs():
    flags = (torch.ones(2, dtype=torch.bool),)
    assert Selection(keep=flags).weighs == set()
    assert Selection(prompt_weight=torch.ones(1)).weighs == {"prompt_weight"}
    everything = Selection(flags, torch.ones(1), (torch.ones(2),), "sampled")
    assert everything.weighs == set(get_args(Weighing))


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(boolean([1, 1], [1, 1])), "for 4 rollouts of 2 prompts, but 3 rollouts of 2 prompts have rewards"),
        (Selection(boolean([1, 1])), "for 2 rollouts of 1 prompts, but 3 rollouts of 2 prompts have rewards"),
        (Selection(boolean([1, 1], [1]), rollout_weight=rewards([1], [1])), "for 2 rollouts"),
        (Selection(prompt_weight=torch.ones(3)), r"prompt_weight has shape \(3,\), and there are 2 prompts"),
        (Selection(prompt_weight=torch.tensor(1.0)), r"prompt_weight has shape \(\)"),
        (Selection(prompt_weight=torch.tensor([1.0, torch.nan])), "a weight of the selection is not finite"),
        (Selection(boolean([1, 1], [1]), rollout_weight=rewards([1, torch.inf], [1])), "is not finite"),
    ],
)
def test_a_selection_of_something_else_is_refused(selection, message):
    with pytest.raises(InvalidInputError, match=message):
        SelectedRollouts.of(selection, rewards([1, 0], [1]))
