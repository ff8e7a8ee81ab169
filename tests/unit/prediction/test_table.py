import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import StateError
from verl_vip.prediction.table import GrowingRows, PromptTable


@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=2), max_size=5), max_size=6))
def test_rows_are_given_in_order_of_appearance(batches):
    table, expected = PromptTable({"x": 1.5}), {}
    for batch in batches:
        rows = table.ensure(batch)
        for name in batch:
            expected.setdefault(name, len(expected))
        assert rows.tolist() == [expected[name] for name in batch]
        table["x"][rows] += 1
    assert len(table) == len(expected)
    assert table.find(["zz", *expected]).tolist() == [-1, *expected.values()]
    assert table.lookup(["zz"], "x").tolist() == [1.5]


def test_growing_rows_keep_what_they_hold():
    growing, all_rows = GrowingRows(2, torch.float32), torch.arange(40.0).reshape(20, 2)
    for start in (0, 3, 4, 11):
        growing.append(all_rows[start : {0: 3, 3: 4, 4: 11, 11: 20}[start]])
    assert torch.equal(growing.rows, all_rows)


def test_a_table_of_other_columns_or_length_is_refused():
    table = PromptTable({"x": 0.0})
    table.ensure(["a", "b"])
    state = table.state_dict()
    with pytest.raises(StateError, match="columns"):
        PromptTable({"y": 0.0}).load_state_dict(state)
    with pytest.raises(StateError, match="1 distinct of 2 prompts"):
        table.load_state_dict({**state, "ids": ["a", "a"]})
