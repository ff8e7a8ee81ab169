from hypothesis import given
from hypothesis import strategies as st

from verl_vip.simulation.prompt_stream import PromptStream


@given(size=st.integers(1, 30), count=st.integers(1, 40), seed=st.integers(0, 100))
def test_no_prompt_occurs_twice_in_a_batch_or_an_epoch(size, count, seed):
    stream = PromptStream(size, seed)
    epoch = [stream.take(count).tolist() for _ in range(max(size // count, 1))]
    rows = [row for batch in epoch for row in batch]
    assert len(set(rows)) == len(rows) == min(count, size) * len(epoch)
    assert set(rows) <= set(range(size))


def test_orders_differ_between_epochs_and_are_repeatable():
    stream, again = PromptStream(20, 5), PromptStream(20, 5)
    first, second = stream.take(20).tolist(), stream.take(20).tolist()
    assert first != second
    assert [again.take(20).tolist(), again.take(20).tolist()] == [first, second]
