import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InfeasibleBudgetError
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.groups import affordable_groups, even_counts, same_counts


@given(st.integers(1, 20), st.data())
def test_even_counts_sum_to_the_total_and_differ_by_one(size, data):
    rows = data.draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
    total = data.draw(st.integers(0, 100))
    counts = even_counts(size, rows, total)
    assert counts.sum() == total
    served = counts[rows]
    assert served.max() - served.min() <= 1
    assert served.tolist() == sorted(served.tolist(), reverse=True)


def test_same_counts_serve_the_rows_only():
    assert same_counts(4, [1, 3], 5).tolist() == [0, 5, 0, 5]
    assert same_counts(3, [], 5).tolist() == [0, 0, 0]


def test_groups_are_limited_by_prompts_budget_and_bounds():
    assert affordable_groups(Budget(64, 2, 32), 8, 100) == (8, 8)
    assert affordable_groups(Budget(64, 2, 32), 8, 3) == (3, 8)
    assert affordable_groups(Budget(64, 12, 32), 8, 100) == (5, 12)
    assert affordable_groups(Budget(64, 2, 4), 8, 100) == (16, 4)
    assert affordable_groups(Budget(7, 2, 32), 8, 100) == (1, 7)
    with pytest.raises(InfeasibleBudgetError, match="do not pay for one group of 3"):
        affordable_groups(Budget(2, 3, 32), 8, 100)
