import pytest
import torch
from fixtures.selections import coefficients_by_hand, rloo_by_hand, selected_outcomes
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.advantages.selection import Selection
from verl_vip.simulation.update import compute_update


def rewards(*groups):
    return tuple(torch.tensor(values, dtype=torch.float64) for values in groups)


def boolean(*groups):
    return tuple(torch.tensor(values, dtype=torch.bool) for values in groups)


@pytest.mark.parametrize(
    ("objective", "shape"), [("rloo", lambda n: 1 / (n - 1)), ("dr_grpo", lambda n: (n - 1) / n**2)]
)
@pytest.mark.parametrize(("n", "p"), [(2, 0.5), (4, 0.3), (8, 0.1)])
def test_expected_noise_is_the_estimators_variance(objective, shape, n, p):
    groups = 20_000
    draws = torch.rand(groups, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    outcomes = tuple((draws < p).double())
    update = compute_update(outcomes, Selection(), torch.full((groups,), p, dtype=torch.float64), objective)
    scale = 1.0 if objective == "rloo" else (n - 1) / n
    assert float(update.signal.mean()) == pytest.approx(scale * p * (1 - p), rel=0.05)
    assert float(update.noise.mean()) == pytest.approx(p * (1 - p) * shape(n), rel=0.05)


def test_a_group_by_hand():
    update = compute_update(rewards([1, 0, 0, 0]), Selection(), torch.tensor([0.5], dtype=torch.float64), "rloo")
    # Advantages are 1 and three times -1/3, scores 1/2 and three times -1/2.
    assert float(update.signal[0]) == pytest.approx((0.5 + 3 / 6) / 4)
    assert float(update.noise[0]) == pytest.approx((1 + 3 / 9) / 16)


def test_silent_single_and_empty_groups_contribute_nothing():
    update = compute_update(rewards([1, 1, 1], [1], []), Selection(), torch.full((3,), 0.5).double(), "rloo")
    assert update.signal.tolist() == [0, 0, 0]
    assert update.noise.tolist() == [0, 0, 0]
    assert update.used == 2
    assert update.trained.tolist() == [3, 1, 0]


def test_only_what_is_kept_counts():
    kept = Selection(keep=boolean([True, False, True, False], [False, False]))
    p = torch.tensor([0.4, 0.4], dtype=torch.float64)
    update = compute_update(rewards([1, 0, 0, 1], [0, 1]), kept, p, "rloo")
    alone = compute_update(rewards([1, 0]), Selection(), p[:1], "rloo")
    torch.testing.assert_close(update.signal, torch.stack([alone.signal[0], torch.zeros(()).double()]))
    torch.testing.assert_close(update.noise[:1], alone.noise)
    assert update.used == 1


def test_a_baseline_over_all_that_was_sampled():
    keep = boolean([True, False, False, False])
    p = torch.tensor([0.5], dtype=torch.float64)
    sampled = compute_update(rewards([1, 0, 0, 0]), Selection(keep=keep, baseline="sampled"), p, "dr_grpo")
    assert float(sampled.signal[0]) == pytest.approx(0.75 * 0.5)
    kept = compute_update(rewards([1, 0, 0, 0]), Selection(keep=keep), p, "dr_grpo")
    assert float(kept.signal[0]) == 0


def test_weights_scale_signal_and_variance():
    everything = boolean([True, True, True])
    p = torch.tensor([0.3], dtype=torch.float64)
    plain = compute_update(rewards([1, 0, 0]), Selection(), p, "rloo")
    doubled = Selection(
        keep=everything, prompt_weight=torch.tensor([2.0]), rollout_weight=(torch.full((3,), 1.5, dtype=torch.float64),)
    )
    weighted = compute_update(rewards([1, 0, 0]), doubled, p, "rloo")
    torch.testing.assert_close(weighted.signal, 3 * plain.signal)
    torch.testing.assert_close(weighted.noise, 9 * plain.noise)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=selected_outcomes(), p=st.floats(0, 1))
def test_any_selection_means_what_its_definition_says(case, p):
    outcomes, selection = case
    update = compute_update(outcomes, selection, torch.full((len(outcomes),), p, dtype=torch.float64), "rloo")
    found = torch.split(update.used * coefficients_by_hand(*case, rloo_by_hand), [len(group) for group in outcomes])
    for row, (coefficients, group) in enumerate(zip(found, outcomes, strict=True)):
        assert float(update.signal[row]) == pytest.approx(float((coefficients * (group - p)).sum()), abs=1e-12)
        assert float(update.noise[row]) == pytest.approx(float(coefficients.square().sum()), abs=1e-12)
