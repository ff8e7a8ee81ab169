import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.drifting_gp.panel import _CAPACITY, _RECORDS, _VISITS, Panel
from verl_vip.prediction.observations import pool


def visit(panel: Panel, numbers: range, time: int) -> None:
    prompts = Prompts(tuple(f"q{i}" for i in numbers), torch.tensor([[float(i)] for i in numbers]))
    trials = torch.full((len(numbers),), 4)
    panel.add(pool(prompts, torch.full((len(numbers),), float(time % 5)), trials), time)


def test_all_visits_to_members_are_kept_up_to_the_last_few():
    panel = Panel()
    for time in range(_RECORDS):
        visit(panel, range(10), time)
    visits = panel.visits()
    assert len(visits.prompt) == 10 * _RECORDS
    assert visits.time[visits.prompt == 3].tolist() == [0, 1, 2, 3]
    assert visits.successes[visits.prompt == 3].tolist() == [0, 1, 2, 3]
    assert visits.embeddings[visits.prompt == 3].unique().tolist() == [3.0]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 4)), min_size=1, max_size=40))
def test_older_visits_are_pooled_two_by_two_and_the_last_are_never_lost(steps):
    panel, history, time = Panel(), [], 0
    for gap, won in steps:
        time += gap
        history.append((time, won))
        prompts = Prompts(("q",), torch.ones(1, 2))
        panel.add(pool(prompts, torch.tensor([float(won)]), torch.tensor([4])), time)
    visits = panel.visits()
    kept = int(visits.visits.sum())
    assert len(visits.time) <= _RECORDS
    assert (visits.visits <= _VISITS).all()
    # All but at most the first of the visits for which there is room.
    assert kept >= min(len(history), _RECORDS * _VISITS - 1)
    recent = history[-kept:]
    for row, count in enumerate(visits.visits.int().tolist()):
        part, recent = recent[:count], recent[count:]
        assert visits.time[row].item() == pytest.approx(sum(when for when, _ in part) / count)
        assert visits.successes[row] == sum(won for _, won in part)
        assert visits.trials[row] == 4 * count
    assert visits.visits[-1] == 1 or len(history) % 2 == 0


def test_memory_is_bounded_and_members_stay_members():
    panel = Panel()
    for time in range(60):
        start = 100 * (time % 20)
        visit(panel, range(start, start + 100), time)
        assert len(panel.visits().time) <= _CAPACITY
    visits = panel.visits()
    # Three epochs have passed, and every member was met in each.
    assert len(visits.time) > _CAPACITY / 4
    assert (torch.bincount(visits.prompt) == 3).all()


def test_a_saved_panel_goes_on_as_before():
    one = Panel()
    for time in range(8):
        visit(one, range(100 * time, 100 * time + 100), time)
    two = Panel.from_state(one.state_dict())
    for panel in (one, two):
        visit(panel, range(300), 8)
    assert torch.equal(one.visits().time, two.visits().time)
    assert torch.equal(one.visits().embeddings, two.visits().embeddings)
