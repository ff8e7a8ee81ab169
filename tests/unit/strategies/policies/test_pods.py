import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.pods import Pods, max_variance_subset


@settings(deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)), min_size=1, max_size=8), st.integers(2, 6))
def test_no_subset_varies_more(values, size):
    rewards = torch.tensor(values, dtype=torch.float64)
    keep = max_variance_subset(rewards, size)
    size = min(size, len(values))
    assert keep.sum() == size
    best = max(
        float(rewards[list(rows)].var(correction=0)) for rows in itertools.combinations(range(len(values)), size)
    )
    assert float(rewards[keep].var(correction=0)) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(
    ("rewards", "size", "ones"),
    [([0, 0, 1, 1, 1, 1], 4, 2), ([0, 0, 0, 0, 0, 1], 4, 1), ([1, 1, 1, 0], 3, 2), ([1, 1, 1, 1], 2, 2)],
)
def test_binary_rewards_are_balanced_as_far_as_they_go(rewards, size, ones):
    values = torch.tensor(rewards, dtype=torch.float64)
    chosen = values[max_variance_subset(values, size)]
    assert len(chosen) == size
    assert float(chosen.var(correction=0)) == pytest.approx(ones / size * (1 - ones / size))


def test_all_are_sampled_and_some_are_kept(batch, play):
    step = play(Pods(kept=4), *batch([0.5, 0.0, 1.0]), Budget(24, 2, 8))
    assert step.totals.tolist() == [8, 8, 8]
    assert [int(flags.sum()) for flags in step.selection.keep] == [4, 4, 4]
    assert step.selection.baseline == "kept"
