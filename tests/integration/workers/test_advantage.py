import pytest
import torch
from fixtures.selections import coefficients_by_hand, rloo_by_hand, selected_outcomes
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.advantages.compute import ADVANTAGES
from verl_vip.advantages.selection import SelectedRollouts, Selection
from verl_vip.errors import IntegrationError
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.workers.advantage import row_advantages
from verl_vip.workers.session.update_terms import UpdateTerms


def terms(uids, variance=None, mean=0.5, selected=None, ranges=None):
    names = sorted(set(uids) - {uid for uid in uids if uid.startswith("pad")})
    prediction = Prediction(torch.full((len(names),), mean), torch.full((len(names),), 0.05))
    ranges = ranges or [(0.0, 1.0)] * len(names)
    return UpdateTerms.of_batch(names, prediction, variance or GradientVariance(), ranges, selected)


def test_a_group_of_one_teaches_nothing_and_padding_counts_nowhere():
    uids = ["a", "b", "b", "pad1"]
    rows = row_advantages(torch.tensor([1.0, 1.0, 0.0, 5.0]), uids, terms(uids), estimator="rloo")
    # sizes 1 and 2, so the mean size is 1.5 whatever was padded
    torch.testing.assert_close(rows, torch.tensor([0.0, 0.75, -0.75, 0.0]))


def test_a_reward_that_is_no_number_leaves_its_group_as_if_it_had_not_been_sampled():
    def run(rewards, uids):
        return row_advantages(torch.tensor(rewards), uids, terms(uids), estimator="rloo")

    found = run([1.0, float("nan"), 0.0, float("inf"), 1.0, 0.0, 0.0], list("aaaabbb"))
    torch.testing.assert_close(found[[0, 2, 4, 5, 6]], run([1.0, 0.0, 1.0, 0.0, 0.0], list("aabbb")))
    assert found[[1, 3]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("estimator", sorted(ADVANTAGES))
def test_only_padding_gives_zeros(estimator):
    found = row_advantages(torch.ones(2), ["pad1", "pad2"], terms(["a"]), estimator=estimator)
    assert torch.equal(found, torch.zeros(2))


def test_utility_and_the_strategys_weight_multiply_their_prompt():
    uids = ["a", "a", "b", "b"]
    rewards = torch.tensor([1.0, 0.0, 1.0, 0.0])
    plain = row_advantages(rewards, uids, terms(uids), estimator="rloo")
    selected = SelectedRollouts.of(Selection(prompt_weight=torch.tensor([1.0, 3.0])), rewards.split(2))
    variance = GradientVariance(utility="log_success")
    weighted = row_advantages(rewards, uids, terms(uids, variance, 0.25, selected), estimator="rloo")
    torch.testing.assert_close(weighted, plain * torch.tensor([4.0, 4.0, 12.0, 12.0]))


def test_one_rollout_learns_from_the_prediction():
    found = row_advantages(torch.tensor([1.0]), ["a"], terms(["a"], mean=0.25), estimator="predicted_baseline")
    torch.testing.assert_close(found, torch.tensor([0.75]))
    coupled = row_advantages(
        torch.tensor([1.0]), ["a"], terms(["a"], mean=0.25), estimator="predicted_baseline", score_coupling=1.0
    )
    torch.testing.assert_close(coupled, torch.tensor([1 - 0.25 * 0.75 / 1.25]))


@pytest.mark.parametrize("estimator", ["rloo", "dr_grpo", "predicted_baseline", "max_rl", "reinforce"])
def test_rows_that_are_kept_are_centred_on_all_that_was_sampled_and_weighed_one_by_one(estimator):
    sampled = (torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    keep = tuple(torch.tensor(flags, dtype=torch.bool) for flags in ([1, 1, 0, 0, 1], [0, 1, 1]))
    factors = (torch.tensor([5.0, 2.0, 9.0, 9.0, 2.0]), torch.tensor([9.0, 3.0, 0.5]))
    selection = Selection(keep=keep, rollout_weight=factors, baseline="sampled")
    ranges = [(-1.0, 1.0), (0.5, 3.0)]
    selected = SelectedRollouts.of(selection, sampled)
    scorers = [low + (high - low) * rewards for rewards, (low, high) in zip(sampled, ranges, strict=True)]

    def run(rewards, uids, selected=None):
        at = terms(uids, selected=selected, ranges=ranges)
        return row_advantages(torch.cat(rewards), uids, at, estimator=estimator, prompt_weight="rows")

    everything = run(scorers, list("aaaaabbb"))
    kept = run([scores[flags] for scores, flags in zip(scorers, keep, strict=True)], list("aaabb"), selected)
    torch.testing.assert_close(kept, (everything * torch.cat(factors))[torch.cat(keep)])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(case=selected_outcomes(), seed=st.integers(0, 99))
def test_in_verls_rows_any_selection_means_what_its_definition_says(case, seed):
    outcomes, selection = case
    selected = SelectedRollouts.of(selection, outcomes)
    names = [f"u{row}" for row in range(len(outcomes))]
    ranges = [(-1.0 - row, 1.0 + row) for row in range(len(outcomes))]
    low, high = torch.tensor(ranges, dtype=torch.float64).unbind(1)
    width = (high - low)[selected.group]
    order = torch.randperm(len(selected.rows), generator=torch.Generator().manual_seed(seed))
    prediction = Prediction(torch.full((len(names),), 0.5), torch.full((len(names),), 0.05))
    found = row_advantages(
        (low[selected.group] + width * selected.rewards)[order],
        [names[row] for row in selected.group[order].tolist()],
        UpdateTerms.of_batch(names, prediction, GradientVariance(), ranges, selected),
        estimator="rloo",
    )
    # verl's loss is a mean over rows; rollouts of one prompt and reward may swap their weights.
    over_rows = found / max(len(order), 1) / width[order]
    expected = coefficients_by_hand(outcomes, selection, rloo_by_hand)[selected.rows][order]

    def by_prompt(values):
        return torch.zeros(len(outcomes), dtype=torch.float64).index_add(0, selected.group[order], values)

    torch.testing.assert_close(by_prompt(over_rows), by_prompt(expected))
    torch.testing.assert_close(over_rows.sort().values, expected.sort().values)


def test_rows_of_an_unknown_prompt_are_refused():
    with pytest.raises(IntegrationError, match="rows of prompt 'z', which is not in the observed batch"):
        row_advantages(torch.ones(2), ["a", "z"], terms(["a"]), estimator="rloo")


@pytest.mark.parametrize("estimator", ["rloo", "dr_grpo"])
def test_equal_groups_agree_with_verl(estimator):
    from omegaconf import OmegaConf
    from verl.trainer.ppo import core_algos

    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 2, (12,), generator=generator).double()
    uids = [f"u{row // 4}" for row in range(12)]
    theirs, _ = core_algos.get_adv_estimator_fn({"rloo": "rloo", "dr_grpo": "grpo"}[estimator])(
        token_level_rewards=scores.unsqueeze(-1),
        response_mask=torch.ones(12, 1, dtype=torch.float64),
        index=uids,
        norm_adv_by_std_in_grpo=False,
        config=OmegaConf.create({}),
    )
    torch.testing.assert_close(row_advantages(scores, uids, terms(uids), estimator=estimator), theirs.squeeze(-1))


@pytest.mark.parametrize("estimator", sorted(ADVANTAGES))
def test_every_estimator_is_registered_with_verl(estimator):
    from verl.trainer.ppo import core_algos

    assert callable(core_algos.get_adv_estimator_fn(f"vip_{estimator}"))
