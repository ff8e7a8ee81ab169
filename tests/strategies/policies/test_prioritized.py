import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import ConfigError
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.prioritized import Prioritized, inclusion_probabilities, systematic_sample
from verl_vip.strategies.registry import build_strategy


def by_search(priority, count):
    """Cap the largest entries at one for every possible number of them, and take the first that fits."""
    order = sorted(range(len(priority)), key=lambda row: -priority[row])
    for certain in range(count + 1):
        rest = order[certain:]
        share = dict.fromkeys(order[:certain], 1.0)
        total = sum(priority[row] for row in rest)
        share |= {row: priority[row] * (count - certain) / total for row in rest}
        if all(value <= 1 + 1e-12 for value in share.values()):
            return [share[row] for row in range(len(priority))]
    raise AssertionError


@given(
    priority=st.lists(st.floats(1e-6, 10), min_size=1, max_size=8),
    data=st.data(),
)
def test_inclusion_probabilities_are_proportional_below_one_and_sum_to_the_count(priority, data):
    count = data.draw(st.integers(1, len(priority)))
    found = inclusion_probabilities(torch.tensor(priority, dtype=torch.float64), count)
    assert found.tolist() == pytest.approx(by_search(priority, count), abs=1e-9)
    assert float(found.sum()) == pytest.approx(count)


@given(probability=st.lists(st.floats(0, 1), min_size=1, max_size=20), seed=st.integers(0, 2**32))
def test_a_sample_has_the_count_and_no_row_twice(probability, seed):
    p = torch.tensor([*probability, 1.0], dtype=torch.float64)
    count = max(1, int(p.sum()))
    p = inclusion_probabilities(p.clamp_min(1e-6), count)
    drawn = systematic_sample(p, count, torch.Generator().manual_seed(seed))
    assert len(drawn) == len(set(drawn)) == count


def test_rows_are_drawn_as_often_as_asked():
    p = torch.tensor([1.0, 0.75, 0.5, 0.5, 0.25], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    hits = torch.zeros(5)
    for _ in range(4000):
        hits[systematic_sample(p, 3, generator)] += 1
    assert torch.allclose(hits / 4000, p.float(), atol=0.03)


def test_corrected_weights_leave_the_gradient_of_the_pool_as_it_was(batch, play):
    mean = [0.02, 0.5, 0.9, 0.3, 0.99, 0.6]
    value = torch.tensor([1.0, -2.0, 3.0, 0.5, 4.0, 1.5], dtype=torch.float64)
    strategy = Prioritized(correction=1.0)
    total = 0.0
    for seed in range(6000):
        step = play(strategy, *batch(mean), Budget(2, 1, 4), seed=seed)
        chosen = step.totals > 0
        assert int(chosen.sum()) == 2
        # The update is a mean over the prompts served.
        total += float((step.selection.prompt_weight * value)[chosen].mean())
    assert total / 6000 == pytest.approx(float(value.mean()), abs=0.08)


def test_uncertain_prompts_come_first_and_known_ones_still_come_up(batch, play):
    strategy = Prioritized()
    hits = torch.zeros(20)
    for seed in range(300):
        hits += play(strategy, *batch([0.5] * 10 + [0.999] * 10), Budget(8, 1, 4), seed=seed).totals
    assert hits[:10].sum() > 10 * hits[10:].sum() > 0


def test_an_even_share_reaches_prompts_whatever_is_predicted_of_them(batch, play):
    known = batch([0.5] * 10 + [0.999] * 30)
    hits = {}
    for share in (0.0, 0.4, 1.0):
        strategy = Prioritized(exponent=4.0, even_share=share)
        hits[share] = sum(play(strategy, *known, Budget(8, 1, 4), seed=seed).totals for seed in range(200)) / (8 * 200)
    assert float(hits[0.0][10:].sum()) < 0.01
    assert float(hits[0.4][10:].sum()) == pytest.approx(0.4 * 30 / 40, abs=0.03)
    assert hits[1.0].tolist() == pytest.approx([1 / 40] * 40, abs=0.01)


def test_groups_have_the_size_asked_and_keep_to_the_budget(batch, play):
    step = play(Prioritized(group_size=2), *batch([0.5] * 9), Budget(9, 1, 8))
    assert sorted(step.totals.tolist()) == [0] * 5 + [2] * 4


@pytest.mark.parametrize(
    "settings",
    [
        {"pool_ratio": 0.5},
        {"pool_ratio": float("nan")},
        {"exponent": -1.0},
        {"correction": 2.0},
        {"group_size": 0},
        {"even_share": 1.5},
        {"even_share": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        build_strategy("prioritized", "rloo", **settings)
