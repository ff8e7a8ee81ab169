import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.contract import Prompts
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.prioritized import (
    Prioritized,
    balanced_probabilities,
    cluster,
    inclusion_probabilities,
    systematic_sample,
)
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


def by_filling(sizes, count):
    """Raise every group's places together, in small steps, until they are used up."""
    places, step = [0.0] * len(sizes), 1e-3
    while sum(places) < count - step:
        open_ = [group for group, size in enumerate(sizes) if places[group] < size]
        for group in open_:
            places[group] += step / len(open_)
    return places


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    data=st.data(),
)
def test_a_balanced_draw_gives_every_group_as_many_places_as_it_can_fill(sizes, data):
    count = data.draw(st.integers(1, sum(sizes)))
    members = [group for group, size in enumerate(sizes) for _ in range(size)]
    membership = torch.tensor(data.draw(st.permutations(members)))
    priority = torch.tensor(data.draw(st.lists(st.floats(0.01, 10), min_size=len(members), max_size=len(members))))
    found = balanced_probabilities(priority.to(torch.float64), membership, count)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float(found.sum()) == pytest.approx(count)
    places = [float(found[membership == group].sum()) for group in range(len(sizes))]
    assert places == pytest.approx(by_filling(sizes, count), abs=0.02)
    for group in range(len(sizes)):  # in proportion to priority, up to the limit
        rows = membership == group
        ratio = (found / priority)[rows & (found < 1 - 1e-9)]
        assert len(ratio) == 0 or float(ratio.max()) == pytest.approx(float(ratio.min()))


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


def test_labels_share_a_balanced_draw_whatever_their_share_of_the_pool(batch, play):
    prompts, prediction = batch([0.5] * 20)
    prompts = Prompts(prompts.ids, prompts.embeddings, ("common",) * 17 + ("rare",) * 3)
    hits = torch.zeros(20)
    for seed in range(200):
        strategy = build_strategy("balanced", "rloo", seed=seed)
        hits += play(strategy, prompts, prediction, Budget(4, 1, 4)).totals
    assert hits[:17].sum() == hits[17:].sum() == 400
    assert (hits[17:] / 200).tolist() == pytest.approx([2 / 3] * 3, abs=0.1)


def test_within_a_label_the_prediction_decides(batch, play):
    prompts, prediction = batch([0.5, 0.999] * 10)
    prompts = Prompts(prompts.ids, prompts.embeddings, ("a",) * 14 + ("b",) * 6)
    hits = torch.zeros(20)
    for seed in range(200):
        strategy = Prioritized(exponent=2.0, balance="labels", seed=seed)
        hits += play(strategy, prompts, prediction, Budget(6, 1, 4)).totals
    assert hits[:14].sum() == hits[14:].sum() == 600
    assert hits[0::2].sum() > 50 * hits[1::2].sum()


def test_a_balanced_draw_needs_labels(batch):
    prompts, prediction = batch([0.5] * 4)
    prompts = Prompts(prompts.ids, prompts.embeddings)
    with pytest.raises(InvalidInputError, match="needs a label for each prompt"):
        next(build_strategy("balanced", "rloo").rounds(prompts, prediction, Budget(2, 1, 4)))


def test_clusters_are_those_of_the_embeddings():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 8, generator=generator)
    family = torch.tensor([0] * 12 + [1] * 3 + [2] * 5)
    found = cluster(centres[family] + 0.01 * torch.randn(20, 8, generator=generator), 3)
    assert all(len(found[family == one].unique()) == 1 for one in range(3))
    assert len(found.unique()) == 3
    assert cluster(torch.ones(5, 8), 32).tolist() == [0] * 5


def test_clusters_share_a_balanced_draw(batch, play):
    prompts, prediction = batch([0.5] * 20)
    directions = torch.nn.functional.one_hot(torch.tensor([0] * 17 + [1] * 3), 4).float()
    prompts = Prompts(prompts.ids, directions)
    step = play(build_strategy("balanced_clusters", "rloo"), prompts, prediction, Budget(4, 1, 4))
    assert (int(step.totals[:17].sum()), int(step.totals[17:].sum())) == (2, 2)


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
