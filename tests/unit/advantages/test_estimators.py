"""Estimators against their definitions, written as loops."""

import math
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from verl_vip.advantages.compute import ADVANTAGES, compute_advantages
from verl_vip.advantages.grouped_rewards import GroupedRewards
from verl_vip.advantages.predicted_baseline import least_variance_baseline
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.beta_belief import BetaBelief

GROUPS = st.lists(st.lists(st.floats(0, 1), max_size=6), min_size=1, max_size=6).filter(any)
BELIEFS = st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 50)), min_size=6, max_size=6)


def batch_of(groups, beliefs=None, low=0.0, high=1.0, order=None, penalised=False):
    rows = [(index, low + (high - low) * share) for index, group in enumerate(groups) for share in group]
    if order is not None:
        order.shuffle(rows)
    belief = None
    if beliefs is not None:
        mean, strength = torch.tensor(beliefs[: len(groups)], dtype=torch.float64).T
        belief = BetaBelief(mean, strength)
    return GroupedRewards(
        torch.tensor([reward for _, reward in rows], dtype=torch.float64),
        torch.tensor([index for index, _ in rows], dtype=torch.int64),
        len(groups),
        (low, high),
        belief,
        penalised=penalised,
    )


def others(batch, row):
    return [
        float(batch.rewards[j]) for j in range(len(batch.rewards)) if j != row and batch.group[j] == batch.group[row]
    ]


@settings(deadline=None, derandomize=True)
@given(groups=GROUPS, order=st.randoms(use_true_random=False))
def test_rloo_leaves_one_out_and_dr_grpo_takes_the_mean(groups, order):
    batch = batch_of(groups, order=order)
    for row, reward in enumerate(batch.rewards.tolist()):
        rest = others(batch, row)
        loo = reward - sum(rest) / len(rest) if rest else 0.0
        mean = reward - (sum(rest) + reward) / (len(rest) + 1)
        assert math.isclose(ADVANTAGES["rloo"](batch)[row], loo, abs_tol=1e-12)
        assert math.isclose(ADVANTAGES["dr_grpo"](batch)[row], mean, abs_tol=1e-12)


@settings(deadline=None, derandomize=True)
@given(groups=GROUPS, beliefs=BELIEFS, order=st.randoms(use_true_random=False), wide=st.booleans())
def test_the_predicted_baseline_is_the_posterior_mean_of_the_others(groups, beliefs, order, wide):
    low, high = (-1.0, 1.0) if wide else (0.0, 1.0)
    batch = batch_of(groups, beliefs, low, high, order)
    advantages = ADVANTAGES["predicted_baseline"](batch)
    for row, reward in enumerate(batch.rewards.tolist()):
        mean, strength = beliefs[int(batch.group[row])]
        rest = others(batch, row)
        baseline = (strength * (low + (high - low) * mean) + sum(rest)) / (strength + len(rest))
        assert math.isclose(advantages[row], reward - baseline, abs_tol=1e-9)


@settings(deadline=None, derandomize=True)
@given(groups=GROUPS, order=st.randoms(use_true_random=False))
def test_a_weak_prior_is_rloo(groups, order):
    groups = [group for group in groups if len(group) != 1] or [[0.0, 1.0]]
    batch = batch_of(groups, [(0.3, 1e-9)] * len(groups), order=order)
    torch.testing.assert_close(ADVANTAGES["predicted_baseline"](batch), ADVANTAGES["rloo"](batch), atol=1e-6, rtol=0)


@settings(deadline=None, derandomize=True)
@given(groups=GROUPS, beliefs=BELIEFS, shift=st.floats(0, 3))
def test_a_common_penalty_does_not_move_the_predicted_baselines_advantages(groups, beliefs, shift):
    batch = batch_of(groups, beliefs, penalised=True)
    moved = GroupedRewards(batch.rewards - shift, batch.group, batch.num_groups, belief=batch.belief, penalised=True)
    if len(batch.rewards) > 1:
        first, second = (ADVANTAGES["predicted_baseline"](each) for each in (batch, moved))
        torch.testing.assert_close(first, second, atol=1e-9, rtol=0)


@pytest.mark.parametrize("coupling", [0.0, 1.0])
def test_a_penalised_baseline_still_does_not_see_its_own_reward(coupling):
    beliefs = [(0.5, 4.0), (0.2, 2.0)]
    groups = [[1.0, 0.0, 0.0], [1.0]]
    before = replace(batch_of(groups, beliefs, penalised=True), score_coupling=coupling)
    groups[0][1] = 0.75
    after = replace(batch_of(groups, beliefs, penalised=True), score_coupling=coupling)
    baseline = [batch.rewards - ADVANTAGES["predicted_baseline"](batch) for batch in (before, after)]
    assert baseline[0][1] == baseline[1][1]
    assert (baseline[0] != baseline[1]).sum() == 3


@settings(deadline=None, derandomize=True)
@given(groups=GROUPS, beliefs=BELIEFS, order=st.randoms(use_true_random=False), wide=st.booleans())
def test_a_coupled_baseline_is_the_plain_one_mapped(groups, beliefs, order, wide):
    low, high = (-1.0, 1.0) if wide else (0.0, 1.0)
    batch = batch_of(groups, beliefs, low, high, order)
    plain = (batch.rewards - ADVANTAGES["predicted_baseline"](batch) - low) / (high - low)
    found = ADVANTAGES["predicted_baseline"](replace(batch, score_coupling=1.0))
    mapped = plain.clamp(0, 1) * (1 - plain.clamp(0, 1)) / (1 + plain.clamp(0, 1))
    torch.testing.assert_close(batch.rewards - found, low + (high - low) * mapped, atol=1e-9, rtol=0)


@pytest.mark.parametrize("coupling", [0.3, 0.65, 1.0])
@pytest.mark.parametrize("success", [0.01, 0.2, 0.5, 0.8, 0.99])
def test_the_least_variance_baseline_is_that_of_a_softmax_over_one_right_answer_and_many_wrong_ones(success, coupling):
    wrong = 20_000
    mass = torch.full((wrong + 1,), (1 - success) / wrong, dtype=torch.float64)
    mass[0] = success
    reward = torch.zeros_like(mass)
    reward[0] = 1
    decision = 1 - 2 * mass + mass.square().sum()  # |e_y - pi|^2
    size = 1 - coupling + coupling * decision  # the rest of the answer adds the same to all
    best = (mass * size * reward).sum() / (mass * size).sum()
    p = torch.tensor(success, dtype=torch.float64)
    assert float(least_variance_baseline(p, coupling)) == pytest.approx(float(best), rel=0.01)
    assert float(least_variance_baseline(p, 0.0)) == pytest.approx(success)
    noise = {b: float((mass * size * (reward - b).square()).sum()) for b in (float(best), 0.0, success)}
    assert noise[float(best)] == min(noise.values())


def test_the_least_variance_baseline_of_a_certain_prompt_is_finite():
    certain = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert least_variance_baseline(certain, 1.0).tolist() == [0.0, 0.0]


def kalman_loop(shares):
    estimate, variance, found = 0.0, 1.0, []
    for share in shares:
        predicted = variance + 1e-5
        gain = predicted / (predicted + 1e-2)
        estimate += gain * (share - estimate)
        variance = (1 - gain) * predicted
        found.append((share - estimate) / (math.sqrt(variance) + 1e-8))
    return found


def test_a_lone_success_in_the_last_of_eight_places_gets_24_5_from_the_kalman_filter():
    assert kalman_loop([0.0] * 7 + [1.0])[-1] == pytest.approx(24.5, abs=0.1)
    assert kalman_loop([1.0] + [0.0] * 7)[0] == pytest.approx(0.1, abs=0.01)


@settings(deadline=None, derandomize=True)
@given(groups=GROUPS, wide=st.booleans())
def test_krpo_is_the_filter_over_some_order_of_each_group(groups, wide):
    low, high = (-1.0, 1.0) if wide else (0.0, 1.0)
    batch = batch_of(groups, None, low, high)
    found = ADVANTAGES["krpo"](batch)
    shuffled = torch.randperm(len(batch.rewards), generator=torch.Generator().manual_seed(0)).tolist()
    for index in range(len(groups)):
        rows = [row for row in shuffled if batch.group[row] == index]
        expected = kalman_loop([float(batch.shares[row]) for row in rows])
        torch.testing.assert_close(found[rows], torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=1e-9)


def test_krpos_places_are_spread_evenly_over_the_rows_of_a_group():
    """A success in any row of a group gets the same on average, whatever order verl put the rows in."""
    got = torch.stack(
        [ADVANTAGES["krpo"](batch_of([[float(row == hit) for row in range(4)] for _ in range(400)])) for hit in (0, 3)]
    )
    first, last = got[0].view(400, 4)[:, 0].mean(), got[1].view(400, 4)[:, 3].mean()
    assert abs(first - last) < 1.5  # places give .1 to 17; without the shuffle these were .1 and 17


@settings(deadline=None, derandomize=True)
@given(low=st.floats(-3, 3), width=st.floats(0.1, 5), size=st.integers(1, 40))
@example(low=0.1, width=0.9, size=3)
def test_max_rl_of_a_group_without_success_is_zero(low, width, size):
    assert not ADVANTAGES["max_rl"](batch_of([[0.0] * size], None, low, low + width)).any()


def test_max_rl_divides_by_the_groups_mean_share():
    batch = batch_of([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0], [1.0, 1.0]], None, -1.0, 1.0)
    torch.testing.assert_close(
        ADVANTAGES["max_rl"](batch), torch.tensor([3.0, -1, -1, -1, 0, 0, 0, 0], dtype=torch.float64)
    )


def test_prompt_weights():
    batch = batch_of([[1.0, 0.0], [1.0, 0.0, 0.0, 0.0], []])
    rows = compute_advantages(batch, estimator="rloo", prompt_weight="rows")
    equal = compute_advantages(batch, estimator="rloo", prompt_weight="equal")
    # two prompts have rollouts, 3 each on average: groups of 2 weigh 3/2, groups of 4 weigh 3/4
    torch.testing.assert_close(equal, rows * torch.tensor([1.5, 1.5, 0.75, 0.75, 0.75, 0.75]))
    # a loss that divides by 8 rows though 6 came back still takes the mean over prompts
    torch.testing.assert_close(compute_advantages(batch, estimator="rloo", rows=8), equal * 8 / 6)
    weighted = compute_advantages(batch, estimator="rloo", weight=torch.tensor([1.0, 3.0, 9.0]))
    torch.testing.assert_close(weighted, equal * torch.tensor([1.0, 1, 3, 3, 3, 3]))


def test_reinforce_is_what_a_reward_is_above_the_worst():
    batch = GroupedRewards(torch.tensor([1.0, -1.0, 0.5]).double(), torch.tensor([0, 0, 1]), 2, (-1.0, 1.0))
    torch.testing.assert_close(ADVANTAGES["reinforce"](batch), torch.tensor([2.0, 0.0, 1.5], dtype=torch.float64))


def test_what_is_missing_is_named():
    batch = batch_of([[1.0]])
    with pytest.raises(InvalidInputError, match="needs a belief"):
        compute_advantages(batch, estimator="predicted_baseline")
    with pytest.raises(InvalidInputError, match="no advantage estimator 'grpo'; known: rloo"):
        compute_advantages(batch, estimator="grpo")
    with pytest.raises(InvalidInputError, match="belief is for 2 prompts, but there are 1"):
        GroupedRewards(batch.rewards, batch.group, 1, belief=BetaBelief(torch.ones(2).double(), torch.ones(2).double()))
    with pytest.raises(InvalidInputError, match="rewards must be float64 and group int64"):
        GroupedRewards(torch.ones(1), torch.zeros(1, dtype=torch.int64), 1)


@pytest.mark.parametrize("estimator", sorted(ADVANTAGES))
def test_a_million_rows_take_no_loop_over_groups(estimator):
    generator = torch.Generator().manual_seed(1)
    group = torch.randint(0, 100_000, (1_000_000,), generator=generator)
    rewards = torch.randint(0, 2, (1_000_000,), generator=generator).double()
    belief = BetaBelief(torch.full((100_000,), 0.5).double(), torch.full((100_000,), 4.0).double())
    batch = GroupedRewards(rewards, group, 100_000, belief=belief)
    advantages = compute_advantages(batch, estimator=estimator)
    assert advantages.isfinite().all()
    row = random.Random(2).randrange(1_000_000)
    alone = torch.where(group == group[row])[0]
    one = GroupedRewards(
        rewards[alone], torch.zeros_like(alone), 1, belief=BetaBelief(belief.mean[:1], belief.strength[:1])
    )
    if estimator != "krpo":  # its order within the group is another in a batch of another size
        expected = (
            compute_advantages(one, estimator=estimator)[alone == row]
            * 1_000_000
            / int((batch.sizes > 0).sum())
            / len(alone)
        )
        torch.testing.assert_close(advantages[row : row + 1], expected)


RANGES = st.lists(st.tuples(st.floats(-3, 3), st.floats(0.1, 5)), min_size=6, max_size=6)


def on_own_scales(batch, ranges):
    """The batch with each prompt's rewards, of 0 to 1, moved to its own range."""
    low, width = torch.tensor(ranges[: batch.num_groups], dtype=torch.float64).T
    rewards = low[batch.group] + width[batch.group] * batch.rewards
    scaled = replace(batch, rewards=rewards, reward_range=torch.stack([low, low + width], 1))
    if batch.unused is not None:
        sums, sizes = batch.unused
        scaled = replace(scaled, unused=(low * sizes + width * sums, sizes))
    return scaled, width[batch.group]


MILLIONTHS = st.integers(0, 10**6).map(lambda number: number / 10**6)  # less is lost in the sum with `low`


@settings(deadline=None, derandomize=True)
@given(
    groups=st.lists(st.lists(MILLIONTHS, max_size=6), min_size=1, max_size=6).filter(any),
    beliefs=BELIEFS,
    ranges=RANGES,
    order=st.randoms(use_true_random=False),
    data=st.data(),
)
def test_each_prompts_advantages_are_on_the_scale_of_its_own_rewards(groups, beliefs, ranges, order, data):
    batch = batch_of(groups, beliefs, order=order)
    if data.draw(st.booleans()):
        sizes = torch.tensor([float(data.draw(st.integers(0, 3))) for _ in groups], dtype=torch.float64)
        batch = replace(batch, unused=(sizes * data.draw(MILLIONTHS), sizes))
    batch = replace(batch, score_coupling=data.draw(st.sampled_from([0.0, 1.0])))
    scaled, width = on_own_scales(batch, ranges)
    for name, estimator in ADVANTAGES.items():
        # What divides by a spread or a mean of the group has no scale.
        expected = estimator(batch) * (1 if name in ("krpo", "max_rl") else width)
        torch.testing.assert_close(estimator(scaled), expected, atol=1e-7, rtol=1e-6, msg=name)


@settings(deadline=None, derandomize=True)
@given(groups=GROUPS, beliefs=BELIEFS, ranges=RANGES)
def test_a_penalised_prior_is_moved_by_what_all_other_rollouts_missed_theirs_by(groups, beliefs, ranges):
    batch, _ = on_own_scales(batch_of(groups, beliefs, penalised=True), ranges)
    prior = [ranges[prompt][0] + ranges[prompt][1] * beliefs[prompt][0] for prompt in batch.group.tolist()]
    rewards = batch.rewards.tolist()
    for row, advantage in enumerate(ADVANTAGES["predicted_baseline"](batch).tolist()):
        missed = [rewards[other] - prior[other] for other in range(len(rewards)) if other != row]
        rest, strength = others(batch, row), beliefs[int(batch.group[row])][1]
        moved = prior[row] + (sum(missed) / len(missed) if missed else 0)
        baseline = (strength * moved + sum(rest)) / (strength + len(rest))
        assert math.isclose(advantage, rewards[row] - baseline, abs_tol=1e-9)


def test_a_range_for_each_prompt_is_one_for_each_prompt():
    batch = batch_of([[1.0], [0.0]])
    with pytest.raises(InvalidInputError, match=r"a row of two for each of the 2 prompts; got shape \(3, 2\)"):
        replace(batch, reward_range=torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("estimator", "what"),
    [
        (lambda batch: batch.rewards.float(), r"torch\.float32 of shape \(3,\)"),
        (lambda batch: batch.rewards[:2], r"torch\.float64 of shape \(2,\)"),
        (lambda batch: batch.rewards.unsqueeze(1), r"torch\.float64 of shape \(3, 1\)"),
        (lambda batch: batch.rewards.tolist(), "list"),
        (lambda batch: batch.rewards / 0, r"torch\.float64 of shape \(3,\)"),
    ],
)
def test_a_function_that_returns_anything_but_a_finite_advantage_for_each_reward_is_refused(estimator, what):
    batch = batch_of([[1.0, 0.0], [1.0]])
    with pytest.raises(InvalidInputError, match=f"<lambda> returned {what} for 3 rewards; it must return a finite"):
        compute_advantages(batch, estimator=estimator)


def test_a_function_is_an_estimator_like_those_with_a_name():
    batch = batch_of([[1.0, 0.0, 0.0], [1.0, 0.0]])
    named = compute_advantages(batch, estimator="rloo")
    assert torch.equal(compute_advantages(batch, estimator=ADVANTAGES["rloo"]), named)
