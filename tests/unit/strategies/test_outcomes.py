import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.strategies.outcomes import (
    group_sizes,
    has_signal,
    join,
    keep_groups,
    reward_means,
    reward_variances,
)

rewards = st.lists(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)), max_size=6)


@given(st.lists(rewards, min_size=1, max_size=5))
def test_statistics_are_those_of_each_prompt_alone(lists):
    outcomes = tuple(torch.tensor(values, dtype=torch.float64) for values in lists)
    means, variances = reward_means(outcomes), reward_variances(outcomes)
    assert group_sizes(outcomes).tolist() == [len(values) for values in lists]
    for row, values in enumerate(outcomes):
        if not len(values):
            assert means[row] == variances[row] == 0
            assert not has_signal(outcomes)[row]
            continue
        torch.testing.assert_close(means[row], values.mean())
        torch.testing.assert_close(variances[row], values.var(correction=0))


def test_signal_is_difference():
    outcomes = tuple(torch.tensor(values) for values in ([0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0], [0.3]))
    assert has_signal(outcomes).tolist() == [False, False, True, False]


def test_rounds_are_joined_in_order():
    first = (torch.tensor([0.0, 1.0]), torch.tensor([]))
    second = (torch.tensor([1.0]), torch.tensor([0.5]))
    assert [row.tolist() for row in join([first, second])] == [[0.0, 1.0, 1.0], [0.5]]


def test_whole_groups_are_kept():
    outcomes = (torch.zeros(2), torch.zeros(0), torch.zeros(3))
    kept = keep_groups(outcomes, torch.tensor([True, True, False]))
    assert [row.tolist() for row in kept] == [[True, True], [], [False] * 3]
