import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.observations import pool


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.floats(0, 1)), max_size=12))
def test_totals_are_those_of_a_dictionary(rows):
    expected: dict[str, list[float]] = {}
    for name, count, share in rows:
        if count:
            total = expected.setdefault(name, [0.0, 0])
            total[0] += share * count
            total[1] += count
    seen = pool(
        Prompts(tuple(name for name, _, _ in rows), torch.zeros(len(rows), 2)),
        torch.tensor([share * count for _, count, share in rows], dtype=torch.float64),
        torch.tensor([count for _, count, _ in rows], dtype=torch.int64),
    )
    assert seen.prompts.ids == tuple(expected)
    torch.testing.assert_close(seen.successes.tolist(), [total[0] for total in expected.values()])
    assert seen.trials.tolist() == [total[1] for total in expected.values()]


def test_the_rounding_of_single_precision_sums_is_forgiven():
    prompts = Prompts(("a", "b"), torch.zeros(2, 1))
    seen = pool(prompts, torch.tensor([8.000001, -1e-7]), torch.tensor([8, 8]))
    assert seen.successes.tolist() == [8.0, 0.0]
    with pytest.raises(InvalidInputError, match=r"8\.01 successes in 8"):
        pool(prompts, torch.tensor([8.01, 0], dtype=torch.float64), torch.tensor([8, 8]))


def test_squares_are_those_of_the_rewards():
    prompts = Prompts(("a", "b", "a"), torch.zeros(3, 1))
    won, tried = torch.tensor([1.0, 2.0, 1.5]), torch.tensor([2, 4, 2])
    assert pool(prompts, won, tried).squares.tolist() == [2.5, 2.0]
    assert pool(prompts, won, tried, torch.tensor([0.5, 1.0, 1.25])).squares.tolist() == [1.75, 1.0]
    for wrong in (1.1, 0.4, float("nan")):
        with pytest.raises(InvalidInputError, match="row 0 has squared rewards"):
            pool(prompts, won, tried, torch.tensor([wrong, 1.0, 1.25]))
    with pytest.raises(InvalidInputError, match="one number for each"):
        pool(prompts, won, tried, torch.tensor([1.0]))
